/**
 * Collects values of varying length and their offsets.
 *
 * @module
 */

import { bytesOf } from "./views.ts";

/** Collects values of varying length and their offsets. */
export interface BytesWriter {
  /** Adds the UTF-8 of `text` to the current row; answers with its length in bytes. */
  text(text: string): number;
  /** Adds bytes to the current row. */
  bytes(bytes: Uint8Array): void;
  /** Ends the current row. */
  endRow(): void;
  /** The bytes of all rows, and the offsets: u32 × (rows + 1). */
  finish(): { values: Uint8Array; offsets: Uint8Array };
}

const encoder = new TextEncoder();

// Calling the encoder costs more than copying so many characters.
const shortText = 48;

/** A writer for `rows` rows, of `expectedBytes` bytes together if the guess is right. */
export function createBytesWriter(rows: number, expectedBytes: number): BytesWriter {
  const offsets = new Uint32Array(rows + 1);
  let buffer = new Uint8Array(Math.max(64, expectedBytes));
  let length = 0;
  let row = 0;

  const reserve = (more: number): void => {
    if (length + more <= buffer.length) return;
    const grown = new Uint8Array(Math.max(length + more, buffer.length * 2));
    grown.set(buffer.subarray(0, length));
    buffer = grown;
  };

  const shortAscii = (text: string): boolean => {
    reserve(text.length);
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) return false;
      buffer[length + i] = code;
    }
    length += text.length;
    return true;
  };

  return {
    text(text) {
      const before = length;
      if (text.length <= shortText && shortAscii(text)) return length - before;
      reserve(text.length);
      let { read, written } = encoder.encodeInto(text, buffer.subarray(length));
      if (read < text.length) {
        reserve(text.length * 3);
        ({ read, written } = encoder.encodeInto(text, buffer.subarray(length)));
      }
      length += written;
      return length - before;
    },
    bytes(bytes) {
      reserve(bytes.length);
      buffer.set(bytes, length);
      length += bytes.length;
    },
    endRow() {
      row++;
      offsets[row] = length;
    },
    finish() {
      return { values: buffer.subarray(0, length), offsets: bytesOf(offsets) };
    },
  };
}
