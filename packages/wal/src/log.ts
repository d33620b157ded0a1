/**
 * Log: what a backend is. One pchannel's batches, dense by sequence, written by one owner at a time.
 *
 * @module
 */

import type { Crc32 } from "./crc32.ts";
import type { RecordBatch } from "./record-batch.ts";

/** The sequences a log holds: `first` to `next - 1`; empty if they are the same. */
export interface LogBounds {
  first: number;
  next: number;
}

/** A place in a log that its backend finds again without reading what stands before it. */
export interface LogMark {
  /** Of the batch that stands, or will stand, there. */
  sequence: number;
  /** Where that is, in the backend's own words. A hint: one that is wrong costs time, nothing else. */
  hint: string;
}

/** Reading a log. */
export interface LogReader {
  /** A log that was written once is never empty again: its last batch is not truncated. */
  bounds(): LogBounds;
  /**
   * The batches from sequence `from` to the end as it stands when the end is reached; it does not
   * wait for more. `OUT_OF_RANGE` with the first available sequence as `expected` if `from` was
   * truncated, `DATA_LOSS` with the position if a batch is damaged.
   */
  read(from: number, options?: { signal?: AbortSignal }): AsyncIterable<RecordBatch>;
  close(): Promise<void>;
}

/**
 * The one writer of a log at a term.
 *
 * After `append` resolved, every later reader sees the batch until it is truncated. Once another
 * owner has opened the log at a higher term, `append` rejects with `CHANNEL_FENCED`. Whether a batch
 * whose append was rejected is in the log, the owner that follows decides once for all.
 */
export interface Log extends LogReader {
  readonly term: number;
  /**
   * Makes a batch durable. Its sequence must be the next one and its term the log's. Calls may
   * overlap; they resolve in order.
   *
   * If it rejects with `RESOURCE_EXHAUSTED` there is no room for now: the batch and all that were
   * handed in after it are refused, the log goes on at the same sequence, and a later call may
   * succeed. After any other rejection all later calls reject.
   */
  append(batch: RecordBatch): Promise<void>;
  /**
   * A batch's bytes may be overwritten when its `append` has resolved: the log does not hold on to them.
   * Absent: it does.
   */
  readonly releasesBatches?: true;
  /** Forgets batches before a sequence. Best effort: some may stay, and the last one always does. */
  truncate(before: number): Promise<void>;
  /** The place of the next batch. Absent: the backend needs no marks. */
  mark?(): LogMark;
  /** What a former owner, or this one, kept last; `undefined` if nothing, or if it is damaged. */
  readonly kept?: Uint8Array | undefined;
  /**
   * Keeps some bytes beside the log for the next owner, in place of what was kept before: whole or not
   * at all. Absent: the backend keeps nothing.
   */
  keep?(bytes: Uint8Array): Promise<void>;
}

/** Options of {@linkcode LogBackend.open}. */
export interface LogOpenOptions {
  signal?: AbortSignal | undefined;
  /** A place from {@linkcode Log.mark} before which the log need not be read to find its end. */
  mark?: LogMark | undefined;
}

/** Where logs are kept. */
export interface LogBackend {
  /** For logs and errors: `memory`, `file`. */
  readonly name: string;
  /** The fastest CRC-32 where it runs. Default: the portable one. */
  readonly crc32?: Crc32;
  /**
   * Opens a pchannel for writing at `term` (from 1), after sealing whatever lower terms wrote.
   * `CHANNEL_FENCED` with the higher term as `expected` if there is one, also if `term` itself was
   * used before.
   */
  open(pchannel: string, term: number, options?: LogOpenOptions): Promise<Log>;
  /** Opens a pchannel for reading, whoever owns it. `NOT_FOUND` if it was never opened. */
  openReadOnly(pchannel: string, options?: { signal?: AbortSignal }): Promise<LogReader>;
  close(): Promise<void>;
}
