/**
 * Whether bytes are UTF-8.
 *
 * @module
 */

import type { Fault } from "./faults.ts";
import { viewAs } from "./views.ts";

const strict = new TextDecoder("utf-8", { fatal: true });

/** Refuses a column of texts whose bytes are not UTF-8, or where an offset splits a character. */
export function checkUtf8(values: Uint8Array, offsets: Uint32Array, fault: Fault): void {
  if (isAscii(values)) return;
  // Valid as a whole and cut between characters: each text is valid.
  if (isUtf8(values) && !splitsCharacter(values, offsets)) return;
  for (let row = 0; row + 1 < offsets.length; row++) {
    if (isUtf8(values.subarray(offsets[row], offsets[row + 1]))) continue;
    throw fault(row, "is not UTF-8; send bytes in a field of type BYTES");
  }
}

function isAscii(bytes: Uint8Array): boolean {
  const head = Math.min(bytes.length, -bytes.byteOffset & 3);
  const words = viewAs(Uint32Array, bytes.subarray(head));
  for (let i = 0; i < words.length; i++) {
    if (((words[i] ?? 0) & 0x80808080) !== 0) return false;
  }
  let seen = 0;
  for (let i = 0; i < head; i++) seen |= bytes[i] ?? 0;
  for (let i = head + words.length * 4; i < bytes.length; i++) seen |= bytes[i] ?? 0;
  return seen < 0x80;
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    strict.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function splitsCharacter(values: Uint8Array, offsets: Uint32Array): boolean {
  for (let i = 0; i < offsets.length; i++) {
    if (((values[offsets[i] ?? 0] ?? 0) & 0xc0) === 0x80) return true;
  }
  return false;
}
