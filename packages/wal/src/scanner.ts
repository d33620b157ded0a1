/**
 * Scanner: reads a log from a place on and goes on with what is appended, without loss or repeats.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { LogReader } from "./log.ts";
import type { RecordBatch } from "./record-batch.ts";
import type { TailBuffer } from "./tail-buffer.ts";
import type { ScanOptions } from "./wal.ts";

/** What a scanner reads from. */
export interface ScanSource {
  log: LogReader;
  tail: TailBuffer;
  /** The sequence of the batch that comes next: all before it are durable. */
  next(): number;
  /** Why nothing more will come, if so; `ON_SHUTDOWN` for an orderly end. */
  ended(): MillraceError | undefined;
  /** Called whenever one of the two above has changed. */
  wakers: Set<() => void>;
}

/**
 * The batches from a place on. They come from the tail buffer while the reader keeps up, else from the
 * log. Ends when the signal is aborted or the log is closed; throws the reason when the log has
 * failed, after all that is durable was read.
 */
export function scan(source: ScanSource, options: ScanOptions): AsyncIterable<RecordBatch> {
  const start = startOf(source, options);
  const { vchannel } = options;
  const batches = readFrom(source, start, options.signal);
  return vchannel === undefined ? batches : filter(batches, vchannel);
}

function startOf(source: ScanSource, { from }: ScanOptions): number {
  if (from === "earliest") return source.log.bounds().first;
  if (from === "latest") return source.next();
  const { sequence } = from;
  if (sequence > source.next()) {
    throw new MillraceError(
      "OUT_OF_RANGE",
      `batch ${sequence} is beyond the end; the next one is ${source.next()}`,
      { expected: String(source.next()) },
    );
  }
  return sequence;
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
  signal: AbortSignal,
): AsyncGenerator<RecordBatch> {
  const { log, tail, wakers } = source;
  let next = start;
  let wake: () => void = () => undefined;
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  try {
    while (!signal.aborted && source.ended()?.code !== "ON_SHUTDOWN") {
      const recent = tail.get(next);
      if (recent) {
        next++;
        yield recent;
        continue;
      }
      if (next < source.next()) {
        for await (const batch of log.read(next, { signal })) {
          next = batch.sequence + 1;
          yield batch;
          if (tail.get(next) || source.ended()?.code === "ON_SHUTDOWN") break;
        }
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
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    wakers.delete(wake);
  }
}
