/**
 * How much of a log is kept for readers after its rows are in tables.
 *
 * @module
 */

import { type Live, readLive, tickToMs } from "@millrace/types";
import type { RecordBatch } from "@millrace/wal";

/** How long batches are kept. Whichever limit is reached first lets them go. */
export interface RetentionLimits {
  /** Milliseconds. Default 86400000, a day. */
  ageMs: number;
  /** Bytes of each pchannel's log. Default 8 GiB. */
  bytes: number;
}

/** The defaults of {@linkcode RetentionLimits}. */
export const defaultRetention: RetentionLimits = {
  ageMs: 86_400_000,
  bytes: 8 * 1024 ** 3,
};

/** Where in a log how much had been written. */
export interface RetentionMark {
  sequence: number;
  /** Of the batch, in milliseconds since 1970. */
  ms: number;
  /** Bytes of all batches before it. */
  bytes: number;
}

/** What is kept of a retention over restarts. */
export interface RetentionSnapshot {
  /** The next batch to count, and the bytes before it. */
  sequence: number;
  bytes: number;
  marks: RetentionMark[];
}

/** Knows which batches are old or far enough back to go. */
export interface Retention {
  /** Counts a batch; one that was counted before is left out. */
  observe(batch: RecordBatch): void;
  /** Batches before this sequence need not be kept. */
  horizon(now: number): number;
  snapshot(): RetentionSnapshot;
}

/** Of so many parts is what is kept: the last one may be kept too long by one part. */
const parts = 64;

/** Creates a retention, which goes on from a snapshot. */
export function createRetention(given: Live<RetentionLimits>, from?: RetentionSnapshot): Retention {
  const read = readLive(given);
  const marks: RetentionMark[] = [...(from?.marks ?? [])];
  let next = from?.sequence ?? 0;
  let total = from?.bytes ?? 0;

  return {
    observe({ sequence, firstTick, bytes }) {
      if (sequence < next) return;
      const ms = tickToMs(firstTick);
      const last = marks.at(-1);
      const limits = read();
      const due =
        !last || total - last.bytes >= limits.bytes / parts || ms - last.ms >= limits.ageMs / parts;
      if (due) marks.push({ sequence, ms, bytes: total });
      next = sequence + 1;
      total += bytes.byteLength;
    },
    horizon(now) {
      const limits = read();
      let horizon = 0;
      for (const { sequence, ms, bytes } of marks) {
        if (ms <= now - limits.ageMs || total - bytes >= limits.bytes) horizon = sequence;
      }
      while (marks[1] && marks[1].sequence <= horizon) marks.shift();
      return horizon;
    },
    snapshot: () => ({ sequence: next, bytes: total, marks: [...marks] }),
  };
}
