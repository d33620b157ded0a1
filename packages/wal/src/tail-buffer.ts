/**
 * The newest batches of a log in memory, for readers that keep up.
 *
 * @module
 */

import type { RecordBatch } from "./record-batch.ts";

/** The newest batches, dense by sequence, bounded in bytes. */
export interface TailBuffer {
  /** Adds the next batch and forgets the oldest beyond the limit. */
  push(batch: RecordBatch): void;
  /** The batch of a sequence, unless it was forgotten or is yet to come. */
  get(sequence: number): RecordBatch | undefined;
  clear(): void;
}

/** What a batch costs besides its bytes, about. */
const overheadBytes = 512;

/** Creates a buffer that holds `maxBytes` at most. */
export function createTailBuffer(maxBytes: number): TailBuffer {
  // In order of insertion, which is the order of sequences.
  const batches = new Map<number, RecordBatch>();
  let bytes = 0;
  return {
    push(batch) {
      batches.set(batch.sequence, batch);
      bytes += batch.bytes.length + overheadBytes;
      if (bytes <= maxBytes) return;
      for (const [sequence, oldest] of batches) {
        batches.delete(sequence);
        bytes -= oldest.bytes.length + overheadBytes;
        if (bytes <= maxBytes) return;
      }
    },
    get: (sequence) => batches.get(sequence),
    clear() {
      batches.clear();
      bytes = 0;
    },
  };
}
