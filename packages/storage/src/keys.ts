/**
 * Keys and options that every adapter checks alike.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { GetOptions, PutOptions } from "./object-store.ts";

/** The largest body of a conditional put, in bytes. */
export const maxConditionalBytes: number = 8 * 1024 * 1024;

/** First segments that begin so belong to the adapters: locks, temporary files, probes. */
export const reservedPrefix = ".millrace";

const maxKeyBytes = 900;
const maxSegmentBytes = 255;
const encoder = new TextEncoder();

/** Refuses with `INVALID_ARGUMENT` what is not a key (see ObjectStore). */
export function checkKey(key: string): void {
  const problem = keyProblem(key);
  if (problem === undefined) return;
  const shown = JSON.stringify(key.length > 100 ? `${key.slice(0, 100)}…` : key);
  throw new MillraceError("INVALID_ARGUMENT", `${shown} is not a key: ${problem}`, {
    field: "key",
  });
}

/** `true` if {@linkcode checkKey} lets it pass. */
export function isKey(key: string): boolean {
  return keyProblem(key) === undefined;
}

function keyProblem(key: string): string | undefined {
  if (key.length === 0) return "it is empty";
  if (/\p{Surrogate}/u.test(key)) return "it has half a surrogate pair";
  const bytes = encoder.encode(key).length;
  if (bytes > maxKeyBytes) return `it has ${bytes} bytes, at most ${maxKeyBytes} are allowed`;
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i);
    if (unit < 0x20 || unit === 0x7f) return `it has a control character at ${i}`;
  }
  if (key.startsWith(reservedPrefix)) return `keys that begin with ${reservedPrefix} are reserved`;
  for (const segment of key.split("/")) {
    if (segment === "") return "it has an empty segment";
    if (segment === "." || segment === "..") return `it has a segment ${segment}`;
    if (encoder.encode(segment).length > maxSegmentBytes) {
      return `it has a segment of more than ${maxSegmentBytes} bytes`;
    }
  }
  return undefined;
}

/** Refuses conditions that contradict each other or a body that is too large for them. */
export function checkPut(body: Uint8Array | AsyncIterable<Uint8Array>, options: PutOptions): void {
  if (options.ifAbsent && options.ifMatch !== undefined) {
    throw new MillraceError("INVALID_ARGUMENT", "use ifAbsent or ifMatch, not both", {
      field: "ifMatch",
    });
  }
  if (!options.ifAbsent && options.ifMatch === undefined) return;
  if (!(body instanceof Uint8Array) || body.length > maxConditionalBytes) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `a conditional put takes a Uint8Array of at most ${maxConditionalBytes} bytes; write large bodies under a fresh key and point to them`,
      { field: "body" },
    );
  }
}

/** Refuses a range that is not one of non-negative whole numbers in order. */
export function checkRange(range: GetOptions["range"]): void {
  if (range === undefined) return;
  const { start, end } = range;
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end >= start) {
    return;
  }
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `range ${start} to ${end} is not a range: use whole numbers with 0 <= start <= end`,
    { field: "range" },
  );
}

/** The order of two strings' UTF-8 bytes, which is not the order of `<` beyond U+FFFF. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above all others, but have smaller units than U+E000-U+FFFF.
    return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1;
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

/**
 * The error of a condition that did not hold. `current` is the object's etag if it is known;
 * `maybeApplied` says that the bytes may have stood there for a while.
 */
export function preconditionFailed(
  store: string,
  key: string,
  options: PutOptions,
  current: string | undefined,
  maybeApplied = false,
): MillraceError {
  const found = current === undefined ? "" : ` but ${current}`;
  const message = options.ifAbsent
    ? `${store}: ${key} exists already`
    : `${store}: ${key} does not have the etag ${options.ifMatch}${found}`;
  return new MillraceError("PRECONDITION_FAILED", message, {
    maybeApplied,
    ...(current === undefined ? {} : { expected: current }),
  });
}

/** The bytes of a body in one piece. */
export async function collectBody(
  body: Uint8Array | AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    signal?.throwIfAborted();
    // The source may use its buffer again.
    chunks.push(chunk.slice());
    length += chunk.length;
  }
  return concatBytes(chunks, length);
}

/** One array of all chunks; `length` is the sum of theirs. */
export function concatBytes(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
