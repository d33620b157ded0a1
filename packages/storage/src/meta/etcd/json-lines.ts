/**
 * Bodies of answers: JSON, and JSON a line.
 *
 * @module
 */

import { concatBytes } from "../../keys.ts";

/** Why a body is given up before its end. */
export class BodyTooLargeError extends Error {
  override readonly name = "BodyTooLargeError";

  constructor(maxBytes: number) {
    super(`the answer has more than ${maxBytes} bytes`);
  }
}

/** The bytes of a body. Throws {@linkcode BodyTooLargeError}, and what its source throws. */
export async function readBody(
  body: AsyncIterable<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    if (length > maxBytes) throw new BodyTooLargeError(maxBytes);
    chunks.push(chunk);
  }
  return concatBytes(chunks, length);
}

const newline = 10;

/**
 * The values of a body that has one in each line, as they come. Throws {@linkcode BodyTooLargeError}
 * on a line that is too long, and on what is not JSON.
 */
export async function* readJsonLines(
  body: AsyncIterable<Uint8Array> | null,
  maxLineBytes: number,
): AsyncGenerator<unknown> {
  let parts: Uint8Array[] = [];
  let length = 0;
  const add = (part: Uint8Array): void => {
    length += part.length;
    if (length > maxLineBytes) throw new BodyTooLargeError(maxLineBytes);
    parts.push(part);
  };
  const take = (): string => {
    const line = new TextDecoder().decode(concatBytes(parts, length));
    parts = [];
    length = 0;
    return line.trim();
  };
  for await (const chunk of body ?? []) {
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      add(chunk.subarray(start, end));
      start = end + 1;
      const line = take();
      if (line !== "") yield JSON.parse(line);
    }
    add(chunk.subarray(start));
  }
  const rest = take();
  if (rest !== "") yield JSON.parse(rest);
}
