/**
 * Scanner: reads a log from a place on and goes on with what is appended, without loss or repeats.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { LogBounds, LogReader } from "../log.ts";
import type { RecordBatch } from "../record-batch.ts";
import type { ScanFrom, ScanOptions } from "../wal.ts";
import type { TailBuffer } from "./tail-buffer.ts";

/** What a scanner reads from. */
export interface ScanSource {
  log: LogReader;
  tail: TailBuffer;
  /** The sequence of the batch that comes next: all before it are durable. */
  next(): number;
  /** The sequence where the oldest transaction that is open was begun; `next()` if none is. */
  oldestOpen(): number;
  /** Why nothing more will come, if so; `ON_SHUTDOWN` for an orderly end. */
  ended(): MillraceError | undefined;
  /** Called whenever `next` or `ended` has changed. */
  wakers: Set<() => void>;
}

/**
 * The batches from a place on. They come from the tail buffer while the reader keeps up, else from the
 * log; a reader that stands still holds one batch and what the log reads ahead, however much is
 * written meanwhile. Ends when the signal is aborted or the log is closed, unless it was to come to an
 * end by itself: then a log that is closed before is `ON_SHUTDOWN`. Throws the reason when the log has
 * failed, after all that is durable was read. Errors: `OUT_OF_RANGE` with the first available
 * sequence as `expected` if what comes next was truncated, also while it is reading; `DATA_LOSS` with
 * the position if it is damaged.
 */
export function scan(source: ScanSource, options: ScanOptions): AsyncIterable<RecordBatch> {
  const bounds = { first: source.log.bounds().first, next: source.next() };
  const end = (options.follow ?? true) ? Number.POSITIVE_INFINITY : bounds.next;
  const batches = readFrom(source, startOf(bounds, options.from), end, options.signal);
  return ofVchannel(batches, options.vchannel);
}

/** The sequence to begin at. `OUT_OF_RANGE` if it is beyond the end. */
export function startOf({ first, next }: LogBounds, from: ScanFrom): number {
  if (from === "earliest") return first;
  if (from === "latest") return next;
  const { sequence } = from;
  if (sequence <= next) return sequence;
  throw new MillraceError(
    "OUT_OF_RANGE",
    `batch ${sequence} is beyond the end; the next one is ${next}`,
    { expected: String(next) },
  );
}

/** The batches with messages of a vchannel, or of the empty one; all if there is no vchannel. */
export function ofVchannel(
  batches: AsyncIterable<RecordBatch>,
  vchannel: string | undefined,
): AsyncIterable<RecordBatch> {
  return vchannel === undefined ? batches : filter(batches, vchannel);
}

async function* filter(
  batches: AsyncIterable<RecordBatch>,
  vchannel: string,
): AsyncGenerator<RecordBatch> {
  for await (const batch of batches) {
    if (batch.vchannels.includes(vchannel) || batch.vchannels.includes("")) yield batch;
  }
}

async function* readFrom(
  source: ScanSource,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<RecordBatch> {
  const { log, tail, wakers } = source;
  const closed = (): boolean => signal.aborted || source.ended()?.code === "ON_SHUTDOWN";
  let next = start;
  let wake: () => void = () => undefined;
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  try {
    while (!closed() && next < end) {
      const recent = tail.get(next);
      if (recent) {
        next++;
        yield recent;
        continue;
      }
      if (next < source.next()) {
        const before = next;
        for await (const batch of log.read(next, { signal })) {
          if (batch.sequence !== next) throw missing(next, batch);
          next++;
          yield batch;
          if (next === end || tail.get(next) || closed()) break;
        }
        if (next === before && !closed()) throw missing(next);
        continue;
      }
      const reason = source.ended();
      if (reason) throw reason;
      await new Promise<void>((resolve) => {
        wake = resolve;
        wakers.add(wake);
      });
      wakers.delete(wake);
    }
    // Whoever does not follow takes the end for the end of what was there.
    if (Number.isFinite(end) && next < end && !signal.aborted) throw source.ended();
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    wakers.delete(wake);
  }
}

function missing(sequence: number, found?: RecordBatch): MillraceError {
  const instead = found ? `batch ${found.sequence} stands in its place` : "the log ends before it";
  return new MillraceError("DATA_LOSS", `batch ${sequence} is missing: ${instead}`, {
    expected: `batch ${sequence}`,
  });
}
