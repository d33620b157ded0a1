/**
 * The newest batches of a log in memory, for readers that keep up.
 *
 * @module
 */

import type { RecordBatch } from "../record-batch.ts";

/** Options of {@linkcode createTailBuffer}. */
export interface TailBufferOptions {
  /** How many bytes are held at most. */
  maxBytes: number;
  /** How long a batch is held, in milliseconds. Default: only bytes count. */
  maxAgeMs?: number | undefined;
  /** Called with each batch that is forgotten and was never answered by `get`. */
  onUnread?: ((batch: RecordBatch) => void) | undefined;
}

/** The newest batches, dense by sequence, bounded in bytes and age. */
export interface TailBuffer {
  /**
   * Adds the next batch and forgets the oldest beyond the limit. `now` is the time of a monotonic
   * clock, in milliseconds; a batch that comes without one does not age.
   */
  push(batch: RecordBatch, now?: number): void;
  /** The batch of a sequence, unless it was forgotten or is yet to come. */
  get(sequence: number): RecordBatch | undefined;
  /** Forgets what is too old at a time of the same clock. To be called now and then by the owner. */
  expire(now: number): void;
  clear(): void;
}

interface Entry {
  batch: RecordBatch;
  pushedAt: number;
  /** Somebody has got it, and may hold it for as long as they like. */
  read: boolean;
}

/** What a batch costs besides its bytes, about. */
const overheadBytes = 512;

/** Creates a buffer that is empty. */
export function createTailBuffer(options: TailBufferOptions): TailBuffer {
  const { maxBytes, maxAgeMs = Number.POSITIVE_INFINITY, onUnread } = options;
  const entries = new Map<number, Entry>();
  /** The sequence of the oldest, if there is any. */
  let first = 0;
  let bytes = 0;

  function forgetWhile(due: (oldest: Entry) => boolean): void {
    for (let oldest = entries.get(first); oldest && due(oldest); oldest = entries.get(first)) {
      entries.delete(first);
      first++;
      bytes -= oldest.batch.bytes.length + overheadBytes;
      if (!oldest.read) onUnread?.(oldest.batch);
    }
  }

  return {
    push(batch, now = Number.POSITIVE_INFINITY) {
      if (entries.size === 0) first = batch.sequence;
      entries.set(batch.sequence, { batch, pushedAt: now, read: false });
      bytes += batch.bytes.length + overheadBytes;
      if (bytes > maxBytes) forgetWhile(() => bytes > maxBytes);
    },
    get(sequence) {
      const entry = entries.get(sequence);
      if (entry) entry.read = true;
      return entry?.batch;
    },
    expire(now) {
      forgetWhile(({ pushedAt }) => now - pushedAt >= maxAgeMs);
    },
    clear() {
      entries.clear();
      bytes = 0;
    },
  };
}
