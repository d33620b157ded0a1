/**
 * Equal bytes as one object.
 *
 * @module
 */

/** Answers with the bytes between two places, as a view that earlier calls may have given too. */
export type Interner = (bytes: Uint8Array, start: number, end: number) => Uint8Array;

/** Longer values are seldom equal, and cost more to compare. */
const maxLength = 32;
const slots = 4096;

/**
 * An interner that remembers the last values it saw. The Parquet writer looks for repeated values:
 * it knows an object that it has met before at once, and has to hash the bytes of any other.
 */
export function createInterner(): Interner {
  const seen = new Array<Uint8Array | undefined>(slots);
  return (bytes, start, end) => {
    if (end - start > maxLength) return bytes.subarray(start, end);
    let hash = end - start;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
    const slot = (hash ^ (hash >>> 15)) & (slots - 1);
    const known = seen[slot];
    if (known && equals(known, bytes, start, end)) return known;
    const fresh = bytes.subarray(start, end);
    seen[slot] = fresh;
    return fresh;
  };
}

function equals(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let index = 0; index < known.length; index++) {
    if (known[index] !== bytes[start + index]) return false;
  }
  return true;
}
