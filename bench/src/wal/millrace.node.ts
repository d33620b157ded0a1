/**
 * Millrace's WAL as it is measured.
 *
 * @module
 */

import { join } from "node:path";
import type { TickSource } from "@millrace/types";
import { systemClock } from "@millrace/types/node";
import { openWal, type Wal, type WalMessage } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";

/** A log with what a measurement asks of it. */
export interface MeasuredLog {
  wal: Wal;
  /** Appends the messages and resolves when they are durable. */
  commit(messages: readonly WalMessage[], idempotencyKey?: string): Promise<unknown>;
  close(): Promise<void>;
}

/** Options of {@linkcode openLog}. */
export interface LogOptions {
  /** Where its files are. */
  dir: string;
  /** Default 1. */
  term?: number | undefined;
  /** Truncates now and then, as a log in use is, so that files are written again. */
  recycle?: boolean | undefined;
}

/** The name of the log. */
export const pchannel = "bench";
/** How many bytes are written between two truncations: those of a file. */
const truncateEvery = 64 * 1024 * 1024;

/** The backend that is measured, with its defaults. */
export function createBackend(dir: string): ReturnType<typeof createFileBackend> {
  return createFileBackend({ dir });
}

/** Opens a log in a folder. */
export async function openLog(options: LogOptions): Promise<MeasuredLog> {
  const { dir, term = 1, recycle = false } = options;
  const wal = await openWal({
    backend: createBackend(dir),
    pchannel,
    term,
    clock: systemClock,
    vchannels: "any",
    ticks: createTicks(),
  });
  let truncated: Promise<unknown> = Promise.resolve();
  let sinceTruncation = 0;

  function truncateNowAndThen(messages: readonly WalMessage[]): void {
    for (const { payload } of messages) sinceTruncation += payload.length;
    if (sinceTruncation < truncateEvery) return;
    sinceTruncation = 0;
    truncated = truncated.then(() => wal.truncate(wal.bounds().next - 1));
  }

  return {
    wal,
    commit(messages, idempotencyKey) {
      if (recycle) truncateNowAndThen(messages);
      return wal.append(messages, { whenFull: "wait", idempotencyKey });
    },
    async close() {
      await truncated;
      await wal.close();
    },
  };
}

/** As many messages as a commit has, with records of `bytes` bytes. */
export function createMessages(count: number, bytes: number): WalMessage[] {
  const payload = createRecord(bytes);
  const header = new Uint8Array(0);
  return Array.from({ length: count }, () => ({ type: 2001, vchannel: "bench", header, payload }));
}

/** A record that does not compress to nothing. */
export function createRecord(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 131 + (i >> 8) * 17) & 255);
}

/** What the average batch had that the log formed during a call. */
export async function batchesOf(
  wal: Wal,
  call: () => Promise<unknown>,
): Promise<{ appends: number; bytes: number }> {
  const before = wal.status();
  await call();
  const after = wal.status();
  const batches = after.batches - before.batches;
  return {
    appends: (after.appends - before.appends) / batches,
    bytes: Math.round((after.bytes - before.bytes) / batches),
  };
}

/** The folder of a log's newest term. */
export function termFolder(dir: string, term: number): string {
  return join(dir, pchannel, `term-${String(term).padStart(16, "0")}`);
}

function createTicks(): TickSource {
  let last = BigInt(systemClock.now()) << 18n;
  return {
    take(count, after = 0n) {
      const first = (after > last ? after : last) + 1n;
      last = first + BigInt(count - 1);
      return { first, count };
    },
  };
}
