/**
 * A JSON array of objects, read element by element.
 *
 * @module
 */

import { parseJson } from "./json.ts";
import {
  checkRow,
  chunkRows,
  defaultMaxRowLength,
  emptyChunk,
  lineFailure,
  type RowChunk,
  type TextReaderOptions,
} from "./rows.ts";

/** Text of an element and the line on which it begins. */
interface Element {
  text: string;
  line: number;
}

/**
 * Reads a JSON array without holding more than one element and one chunk of text. Broken JSON and
 * an element that is too long are errors that name the line on which the element begins.
 */
export async function* readJsonArray(
  bytes: AsyncIterable<Uint8Array>,
  options: TextReaderOptions,
): AsyncGenerator<RowChunk> {
  const splitter = new ArraySplitter(options);
  let chunk = emptyChunk();
  for await (const text of decode(bytes, options.name)) {
    for (const element of splitter.push(text)) {
      const { name } = options;
      chunk.rows.push(checkRow(parseElement(element, name), name, element.line));
      chunk.lines.push(element.line);
      chunk.sizes.push(element.text.length);
      if (chunk.rows.length < chunkRows) continue;
      yield chunk;
      chunk = emptyChunk();
    }
  }
  splitter.end();
  if (chunk.rows.length > 0) yield chunk;
}

function parseElement(element: Element, name: string): unknown {
  try {
    return parseJson(element.text);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw lineFailure(name, element.line, `broken JSON: ${problem}`);
  }
}

async function* decode(bytes: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const chunk of bytes) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw lineFailure(name, 0, "not UTF-8");
  }
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const lineFeed = 0x0a;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Cuts the text of an array into the texts of its elements, wherever the chunks end. */
class ArraySplitter {
  readonly #name: string;
  readonly #maxLength: number;
  #state: "before" | "inside" | "after" = "before";
  /** Brackets that are open within the element. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  #line = 1;
  /** What earlier chunks had of the element. */
  #carried = "";
  #elementLine = 1;
  /** Something other than white space of the element was seen. */
  #started = false;
  #elements = 0;

  constructor(options: TextReaderOptions) {
    this.#name = options.name;
    this.#maxLength = options.maxRowLength ?? defaultMaxRowLength;
  }

  /** The elements that end in this text. */
  *push(text: string): Generator<Element> {
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === lineFeed) this.#line++;
      if (this.#state !== "inside") {
        this.#outside(code);
        start = at + 1;
        continue;
      }
      if (!this.#started && !isSpace(code)) {
        this.#started = true;
        this.#elementLine = this.#line;
      }
      if (!this.#endsElement(code)) continue;
      yield* this.#element(text.slice(start, at), code === closeBracket);
      start = at + 1;
    }
    this.#carried += text.slice(start);
    this.#checkLength(this.#carried.length);
  }

  /** To be called after the last text. */
  end(): void {
    if (this.#state === "before") throw this.#failure(this.#line, "there is no JSON array");
    if (this.#state === "inside") {
      throw this.#failure(this.#line, "broken JSON: the array is not closed");
    }
  }

  #outside(code: number): void {
    if (isSpace(code)) return;
    if (this.#state === "before" && code === openBracket) {
      this.#state = "inside";
      return;
    }
    const where = this.#state === "before" ? "before" : "after";
    throw this.#failure(this.#line, `broken JSON: unexpected text ${where} the array`);
  }

  /** Takes one character and answers whether it is the end of the element in front of it. */
  #endsElement(code: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (code === backslash) this.#escaped = true;
      else if (code === quote) this.#inString = false;
      return false;
    }
    switch (code) {
      case quote:
        this.#inString = true;
        return false;
      case openBrace:
      case openBracket:
        this.#depth++;
        return false;
      case closeBrace:
        this.#depth--;
        return false;
      case closeBracket:
        if (this.#depth === 0) return true;
        this.#depth--;
        return false;
      default:
        return code === comma && this.#depth === 0;
    }
  }

  *#element(rest: string, last: boolean): Generator<Element> {
    this.#checkLength(this.#carried.length + rest.length);
    const text = (this.#carried + rest).trim();
    this.#carried = "";
    this.#started = false;
    if (last) this.#state = "after";
    if (text === "" && last && this.#elements === 0) return;
    this.#elements++;
    yield { text, line: text === "" ? this.#line : this.#elementLine };
  }

  #checkLength(length: number): void {
    if (length <= this.#maxLength) return;
    throw this.#failure(this.#elementLine, `longer than ${this.#maxLength} characters`);
  }

  #failure(line: number, problem: string): Error {
    return lineFailure(this.#name, line, problem);
  }
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === lineFeed || code === 0x0d || code === 0x09;
}
