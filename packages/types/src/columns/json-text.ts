/**
 * JSON as columns hold it: text in UTF-8.
 *
 * @module
 */

import { memberPath } from "./faults.ts";

/** The deepest nesting of a JSON value that is kept. */
export const maxJsonDepth = 128;

/** What keeps a value from being JSON, and where in it. */
export interface JsonProblem {
  /** The path within the value, such as `.a[2]`; empty for the value itself. */
  path: string;
  /** What is wrong, to be read after the path. */
  problem: string;
}

/**
 * Looks for what JSON text cannot carry without a change: NaN, infinities, bigints, undefined in
 * arrays, functions, dates, maps and the like, and nesting deeper than 128.
 */
export function findJsonProblem(value: unknown, depth = 0): JsonProblem | undefined {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined;
    case "number":
      if (Number.isFinite(value)) return undefined;
      return { path: "", problem: `must be a JSON value, got ${value}` };
    case "bigint":
      return { path: "", problem: "must be a JSON value, got a bigint; send it as a string" };
    case "object":
      if (value === null) return undefined;
      if (depth === maxJsonDepth) {
        return { path: "", problem: `is nested deeper than ${maxJsonDepth}` };
      }
      return Array.isArray(value)
        ? findItemProblem(value, depth)
        : findMemberProblem(value as Record<string, unknown>, depth);
    default:
      return { path: "", problem: `must be a JSON value, got ${typeof value}` };
  }
}

// Paths are put together on the way back, so that only what is refused pays for them.

function findItemProblem(items: readonly unknown[], depth: number): JsonProblem | undefined {
  for (let i = 0; i < items.length; i++) {
    const found = findJsonProblem(items[i], depth + 1);
    if (found) return { path: `[${i}]${found.path}`, problem: found.problem };
  }
  return undefined;
}

function findMemberProblem(
  members: Record<string | symbol, unknown>,
  depth: number,
): JsonProblem | undefined {
  // Dates and their like have a JSON form that is another value; bytes, maps and sets have none.
  if (typeof members.toJSON === "function" || Symbol.iterator in members) {
    return {
      path: "",
      problem: "must be a JSON value; send numbers, text, arrays or plain objects",
    };
  }
  for (const key of Object.keys(members)) {
    const member = members[key];
    if (member === undefined) continue;
    const found = findJsonProblem(member, depth + 1);
    if (found) return { path: `${memberPath(key)}${found.path}`, problem: found.problem };
  }
  return undefined;
}

/**
 * Whether the bytes from `start` to `end` are one JSON text (RFC 8259) nested at most 128 deep. That
 * they are UTF-8 is taken for granted. Reads bytes only: nothing is allocated.
 */
export function isJsonText(bytes: Uint8Array, start: number, end: number): boolean {
  const valueEnd = skipValue(bytes, skipSpace(bytes, start, end), end, 0);
  return valueEnd >= 0 && skipSpace(bytes, valueEnd, end) === end;
}

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

function skipSpace(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    at++;
  }
  return at;
}

// Each of these answers with the index behind what it read, or -1.

function skipValue(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (at >= end) return -1;
  switch (bytes[at]) {
    case quote:
      return skipString(bytes, at, end);
    case openBrace:
      return depth === maxJsonDepth ? -1 : skipObject(bytes, at + 1, end, depth + 1);
    case openBracket:
      return depth === maxJsonDepth ? -1 : skipArray(bytes, at + 1, end, depth + 1);
    case 0x74:
      return skipWord(bytes, at, end, "true");
    case 0x66:
      return skipWord(bytes, at, end, "false");
    case 0x6e:
      return skipWord(bytes, at, end, "null");
    default:
      return skipNumber(bytes, at, end);
  }
}

function skipArray(bytes: Uint8Array, start: number, end: number, depth: number): number {
  let at = skipSpace(bytes, start, end);
  if (bytes[at] === closeBracket && at < end) return at + 1;
  while (at < end) {
    at = skipValue(bytes, at, end, depth);
    if (at < 0) return -1;
    at = skipSpace(bytes, at, end);
    if (at >= end) return -1;
    if (bytes[at] === closeBracket) return at + 1;
    if (bytes[at] !== comma) return -1;
    at = skipSpace(bytes, at + 1, end);
  }
  return -1;
}

function skipObject(bytes: Uint8Array, start: number, end: number, depth: number): number {
  let at = skipSpace(bytes, start, end);
  if (bytes[at] === closeBrace && at < end) return at + 1;
  while (at < end) {
    if (bytes[at] !== quote) return -1;
    at = skipString(bytes, at, end);
    if (at < 0) return -1;
    at = skipSpace(bytes, at, end);
    if (at >= end || bytes[at] !== colon) return -1;
    at = skipValue(bytes, skipSpace(bytes, at + 1, end), end, depth);
    if (at < 0) return -1;
    at = skipSpace(bytes, at, end);
    if (at >= end) return -1;
    if (bytes[at] === closeBrace) return at + 1;
    if (bytes[at] !== comma) return -1;
    at = skipSpace(bytes, at + 1, end);
  }
  return -1;
}

function skipString(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start + 1; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === quote) return at + 1;
    if (byte < 0x20) return -1;
    if (byte !== backslash) continue;
    at++;
    if (at >= end) return -1;
    if (bytes[at] === 0x75) {
      for (let i = 1; i <= 4; i++) if (at + i >= end || !isHex(bytes[at + i] ?? 0)) return -1;
      at += 4;
    } else if (!isEscape(bytes[at] ?? 0)) {
      return -1;
    }
  }
  return -1;
}

function isEscape(byte: number): boolean {
  // One of " \ / b f n r t
  return (
    byte === quote ||
    byte === backslash ||
    byte === 0x2f ||
    byte === 0x62 ||
    byte === 0x66 ||
    byte === 0x6e ||
    byte === 0x72 ||
    byte === 0x74
  );
}

function isHex(byte: number): boolean {
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function skipDigits(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && isDigit(bytes[at] ?? 0)) at++;
  return at === start ? -1 : at;
}

function skipNumber(bytes: Uint8Array, start: number, end: number): number {
  let at = bytes[start] === 0x2d ? start + 1 : start;
  // A zero stands alone before the point.
  at = at < end && bytes[at] === 0x30 ? at + 1 : skipDigits(bytes, at, end);
  if (at >= 0 && at < end && bytes[at] === 0x2e) at = skipDigits(bytes, at + 1, end);
  if (at >= 0 && at < end && ((bytes[at] ?? 0) | 0x20) === 0x65) {
    const signed = at + 1 < end && (bytes[at + 1] === 0x2b || bytes[at + 1] === 0x2d);
    at = skipDigits(bytes, at + (signed ? 2 : 1), end);
  }
  return at;
}

function skipWord(bytes: Uint8Array, start: number, end: number, word: string): number {
  if (start + word.length > end) return -1;
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word.charCodeAt(i)) return -1;
  return start + word.length;
}
