/**
 * Bitmaps, least significant bit first.
 *
 * @module
 */

/** Bytes that a bitmap of `count` bits takes. */
export function bitmapBytes(count: number): number {
  return Math.ceil(count / 8);
}

/** Whether bit `index` is set. */
export function getBit(bits: Uint8Array, index: number): boolean {
  return (((bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;
}

/** Sets bit `index`. */
export function setBit(bits: Uint8Array, index: number): void {
  const at = index >> 3;
  bits[at] = (bits[at] ?? 0) | (1 << (index & 7));
}

/** Whether the first `count` bits are all set. */
export function allSet(bits: Uint8Array, count: number): boolean {
  const whole = count >> 3;
  for (let i = 0; i < whole; i++) if (bits[i] !== 0xff) return false;
  const rest = (1 << (count & 7)) - 1;
  return ((bits[whole] ?? 0) & rest) === rest;
}

/** The first index below `count` whose bit is not set, or -1. */
export function firstUnset(bits: Uint8Array, count: number): number {
  for (let byte = 0; byte < bitmapBytes(count); byte++) {
    if (bits[byte] === 0xff) continue;
    for (let i = byte * 8; i < Math.min(count, byte * 8 + 8); i++) if (!getBit(bits, i)) return i;
  }
  return -1;
}

/** A bitmap of `count` set bits. */
export function fullBitmap(count: number): Uint8Array {
  const bits = new Uint8Array(bitmapBytes(count)).fill(0xff);
  if (count & 7) bits[bits.length - 1] = (1 << (count & 7)) - 1;
  return bits;
}

/** Copies bits `start` to `start + count` of `source` to `target` from bit `at`, whose bits are 0. */
export function copyBits(
  source: Uint8Array,
  start: number,
  count: number,
  target: Uint8Array,
  at: number,
): void {
  if (((start | at) & 7) === 0) {
    const whole = count >> 3;
    target.set(source.subarray(start >> 3, (start >> 3) + whole), at >> 3);
    for (let i = whole * 8; i < count; i++) if (getBit(source, start + i)) setBit(target, at + i);
    return;
  }
  for (let i = 0; i < count; i++) if (getBit(source, start + i)) setBit(target, at + i);
}

/** The bits at `indices`, in that order. */
export function takeBits(source: Uint8Array, indices: Uint32Array): Uint8Array {
  const bits = new Uint8Array(bitmapBytes(indices.length));
  for (let i = 0; i < indices.length; i++) if (getBit(source, indices[i] ?? 0)) setBit(bits, i);
  return bits;
}
