/**
 * NDJSON: one JSON object a line.
 *
 * @module
 */

import { parseJson } from "./json.ts";
import {
  checkRow,
  defaultMaxRowLength,
  emptyChunk,
  lineFailure,
  type RowChunk,
  type TextReaderOptions,
} from "./rows.ts";

const newline = 0x0a;

/**
 * Reads NDJSON. Empty lines are skipped. Broken JSON, a line that is too long and bytes that are not
 * UTF-8 are errors that name the line.
 */
export async function* readNdjson(
  bytes: AsyncIterable<Uint8Array>,
  options: TextReaderOptions,
): AsyncGenerator<RowChunk> {
  const { name, maxRowLength = defaultMaxRowLength } = options;
  let line = 1;
  for await (const block of wholeLines(bytes, maxRowLength)) {
    const chunk = emptyChunk();
    for (const text of decodeLines(block, name, line)) {
      if (text.length > maxRowLength) {
        throw lineFailure(name, line, `longer than ${maxRowLength} characters`);
      }
      if (text.trim() !== "") {
        chunk.rows.push(checkRow(parseLine(text, name, line), name, line));
        chunk.lines.push(line);
        chunk.sizes.push(text.length);
      }
      line++;
    }
    yield chunk;
  }
}

function parseLine(text: string, name: string, line: number): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw lineFailure(name, line, `broken JSON: ${problem}`);
  }
}

/** Blocks of whole lines, each without its last line end; a block above the limit is cut. */
async function* wholeLines(
  bytes: AsyncIterable<Uint8Array>,
  maxLength: number,
): AsyncGenerator<Uint8Array> {
  let carried: Uint8Array[] = [];
  let carriedLength = 0;
  for await (const chunk of bytes) {
    const end = chunk.lastIndexOf(newline);
    if (end < 0) {
      carried.push(chunk);
      carriedLength += chunk.length;
      // Four bytes a character at most: what is longer cannot be a line within the limit.
      if (carriedLength > 4 * maxLength) break;
      continue;
    }
    yield Buffer.concat([...carried, chunk.subarray(0, end)]);
    carried = [chunk.subarray(end + 1)];
    carriedLength = chunk.length - end - 1;
  }
  if (carriedLength > 0) yield Buffer.concat(carried);
}

function decodeLines(block: Uint8Array, name: string, firstLine: number): string[] {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    return decoder.decode(block).split("\n");
  } catch {
    throw lineFailure(name, firstLine + brokenLine(block), "not UTF-8");
  }
}

/** Which line of a block, from 0, is not UTF-8. */
function brokenLine(block: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let start = 0;
  for (let line = 0; ; line++) {
    const end = block.indexOf(newline, start);
    try {
      decoder.decode(block.subarray(start, end < 0 ? block.length : end));
    } catch {
      return line;
    }
    if (end < 0) return line;
    start = end + 1;
  }
}
