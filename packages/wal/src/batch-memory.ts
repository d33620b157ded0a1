/**
 * The memory of batches that nobody needs any more, for those that come.
 *
 * New memory is not free: the system clears it page by page, and a garbage collector that sees megabytes
 * come and go runs more often. Together that costs about as much as writing the batch into it.
 *
 * @module
 */

/** Memory for batches. */
export interface BatchMemory {
  /** At least so many bytes; what they hold is not defined. */
  allocate(bytes: number): Uint8Array;
  /** Takes back what a batch was encoded into. From now on nobody may read or write it. */
  release(bytes: Uint8Array): void;
}

/** Smaller batches come and go with the rest of the heap. */
const leastBytes = 32 * 1024;

/** Creates memory that keeps up to `maxBytes` bytes for later. */
export function createBatchMemory(maxBytes: number): BatchMemory {
  /** Buffers that are free, by their size. */
  const free = new Map<number, ArrayBufferLike[]>();
  let freeBytes = 0;
  return {
    allocate(bytes) {
      if (bytes < leastBytes) return new Uint8Array(bytes);
      const size = roundUp(bytes);
      const buffer = free.get(size)?.pop();
      if (!buffer) return new Uint8Array(size);
      freeBytes -= size;
      return new Uint8Array(buffer);
    },
    release({ buffer }) {
      const size = buffer.byteLength;
      if (size < leastBytes || freeBytes + size > maxBytes) return;
      freeBytes += size;
      const others = free.get(size);
      if (others) others.push(buffer);
      else free.set(size, [buffer]);
    },
  };
}

/** So that batches that differ little fit into each other's memory: a quarter of a power of two. */
function roundUp(bytes: number): number {
  const step = 2 ** (Math.floor(Math.log2(bytes)) - 2);
  return Math.ceil(bytes / step) * step;
}
