/**
 * UTF-8 into a given place, without an allocation per string.
 *
 * @module
 */

const encoder = new TextEncoder();

/** How many bytes `text` has as UTF-8. */
export function utf8Length(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    length += unit < 0x800 ? 1 : 2;
    // A pair of surrogates is four bytes, a lone one is written as U+FFFD.
    if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(i + 1))) i++;
  }
  return length;
}

/** Writes `text` as UTF-8 at `offset`; the place must hold `length`, its UTF-8 length. */
export function writeUtf8(text: string, bytes: Uint8Array, offset: number, length: number): void {
  if (length !== text.length) {
    encoder.encodeInto(text, bytes.subarray(offset, offset + length));
    return;
  }
  for (let i = 0; i < length; i++) bytes[offset + i] = text.charCodeAt(i);
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}
