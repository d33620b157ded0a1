/**
 * Reading a log that another process owns.
 *
 * @module
 */

import { type Clock, delay, MillraceError } from "@millrace/types";
import type { LogBackend, LogBounds, LogReader } from "../log.ts";
import type { Delivery, RecordBatch } from "../record-batch.ts";
import type { ReadOptions, ScanOptions } from "../wal.ts";
import { deliver, readStart } from "./reader.ts";
import { ofVchannel, startOf } from "./scanner.ts";

/** Options of {@linkcode openWalReader}. */
export interface OpenWalReaderOptions {
  backend: LogBackend;
  pchannel: string;
  /** Readers wait for more at the end of the log. Default, without a clock: they end there. */
  clock?: Clock | undefined;
  /** How often the log is looked at when its end was reached, in milliseconds. Default 100. */
  pollMs?: number | undefined;
  /** Ends the opening, and whatever reads. */
  signal?: AbortSignal | undefined;
}

/** A log that another process may own. */
export interface WalReader {
  readonly pchannel: string;
  /** As {@linkcode Wal.scan}; it begins when its first batch is asked for. */
  scan(options: ScanOptions): AsyncIterable<RecordBatch>;
  /**
   * As {@linkcode Wal.read}, but from the latest place transactions that are open then are left out:
   * only the owner knows of them.
   */
  read(options: ReadOptions): AsyncIterable<Delivery>;
  /** As far as is known: as of the opening, or of the last time that something was read. */
  bounds(): LogBounds;
  /** Ends scans. */
  close(): Promise<void>;
}

/**
 * Opens a log for reading, whoever owns it, without disturbing its owner. `NOT_FOUND` if it was never
 * opened for writing; the errors of reading are those of {@linkcode Wal.scan}.
 */
export async function openWalReader(options: OpenWalReaderOptions): Promise<WalReader> {
  const { backend, pchannel, clock, pollMs = 100, signal } = options;
  const log = await backend.openReadOnly(pchannel, signal ? { signal } : {});
  const closing = new AbortController();
  const close = (): void => closing.abort(new MillraceError("ON_SHUTDOWN", "the log is closed"));
  signal?.addEventListener("abort", close, { once: true });
  if (signal?.aborted) close();
  const source = { log, clock, pollMs, closed: closing.signal };

  return {
    pchannel,
    async *scan(scanOptions) {
      const { from, vchannel } = scanOptions;
      const sequence = startOf(await look(log), from);
      yield* ofVchannel(follow(source, sequence, scanOptions), vchannel);
    },
    async *read(readOptions) {
      const { vchannel } = readOptions;
      const bounds = await look(log);
      const start = readStart(bounds, bounds.next, readOptions);
      const batches = ofVchannel(follow(source, start.sequence, readOptions), vchannel);
      yield* deliver(batches, start, readOptions);
    },
    bounds: () => log.bounds(),
    async close() {
      close();
      signal?.removeEventListener("abort", close);
      await log.close();
    },
  };
}

/** The bounds as they are now: a reader learns of what others do when it reads. */
async function look(log: LogReader): Promise<LogBounds> {
  try {
    for await (const _ of log.read(log.bounds().next)) break;
  } catch (error) {
    // Truncated up to there since: it has learned of that.
    if (!MillraceError.is(error, "OUT_OF_RANGE")) throw error;
  }
  return log.bounds();
}

interface FollowSource {
  log: LogReader;
  clock: Clock | undefined;
  pollMs: number;
  /** Aborted when the log is closed. */
  closed: AbortSignal;
}

async function* follow(
  { log, clock, pollMs, closed }: FollowSource,
  start: number,
  { follow: waits = true, signal }: Pick<ScanOptions, "follow" | "signal">,
): AsyncGenerator<RecordBatch> {
  const ending = new AbortController();
  const end = (): void => ending.abort();
  for (const each of [signal, closed]) {
    if (each.aborted) end();
    each.addEventListener("abort", end, { once: true });
  }
  let next = start;
  try {
    while (!ending.signal.aborted) {
      for await (const batch of log.read(next, { signal: ending.signal })) {
        next = batch.sequence + 1;
        yield batch;
        if (ending.signal.aborted) break;
      }
      if (!waits && !ending.signal.aborted) return;
      if (!clock) break;
      await delay(clock, pollMs, ending.signal);
    }
  } catch (error) {
    if (!ending.signal.aborted) throw error;
  } finally {
    for (const each of [signal, closed]) each.removeEventListener("abort", end);
  }
  // Whoever does not follow takes the end for the end of what was there.
  if (!waits && closed.aborted && !signal.aborted) throw closed.reason;
}
