/**
 * What kind of value a text or a JSON value is.
 *
 * @module
 */

import { parseTimestamp } from "@millrace/types";

/** A kind of value. `list` and `object` come from JSON only. */
export type Kind = "bool" | "int" | "double" | "timestamp" | "text" | "list" | "object";

/** What was seen of one field. Nulls leave no trace. */
export interface Observed {
  kinds: Set<Kind>;
  /** Kinds of the elements of lists; `object` for null and for lists within. */
  elements: Set<Kind>;
  /** Lengths of lists. */
  shortest: number;
  longest: number;
}

// Leading zeros and a plus sign are the mark of codes, not of numbers: 00501, +4930.
const integer = /^-?(?:0|[1-9]\d*)$/;
const decimal = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?$/;
const bool = /^(?:true|false)$/i;

/** A decimal text with more digits would be rounded by a double. */
const mostDigits = 17;

/** The kind of a CSV cell. */
export function kindOfText(text: string): Kind {
  if (bool.test(text)) return "bool";
  if (integer.test(text)) return isInt64(text) ? "int" : "text";
  if (decimal.test(text)) return isExact(text) ? "double" : "text";
  return isTimestamp(text) ? "timestamp" : "text";
}

/** The kind of a JSON value that is not null. */
export function kindOfValue(value: unknown): Kind {
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "number":
      return Number.isSafeInteger(value) ? "int" : "double";
    case "bigint":
      return BigInt.asIntN(64, value) === value ? "int" : "double";
    case "string":
      return isTimestamp(value) ? "timestamp" : "text";
    default:
      return Array.isArray(value) ? "list" : "object";
  }
}

/** Takes note of a CSV cell. */
export function observeText(observed: Observed, value: unknown): void {
  if (typeof value === "string") observed.kinds.add(kindOfText(value));
}

/** Takes note of a JSON value. */
export function observeValue(observed: Observed, value: unknown): void {
  if (value === null || value === undefined) return;
  observed.kinds.add(kindOfValue(value));
  if (!Array.isArray(value)) return;
  observed.shortest = Math.min(observed.shortest, value.length);
  observed.longest = Math.max(observed.longest, value.length);
  for (const element of value) {
    const kind = element === null ? "object" : kindOfValue(element);
    observed.elements.add(kind === "list" ? "object" : kind);
  }
}

function isTimestamp(text: string): boolean {
  return text.length >= 20 && parseTimestamp(text) !== undefined;
}

function isInt64(text: string): boolean {
  if (text.length < 18) return true;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value;
}

function isExact(text: string): boolean {
  const digits = text
    .replace(/[eE].*$/, "")
    .replace(/\D/g, "")
    .replace(/^0+/, "");
  return digits.length <= mostDigits && Number.isFinite(Number(text));
}
