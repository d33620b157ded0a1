/**
 * JSON text to values, with integers beyond 2^53 kept exact where a field can hold them.
 *
 * @module
 */

import { type CollectionSchema, DataType } from "@millrace/types/gen";
import type { SourceRow } from "./rows.ts";

/** Only such a text can hold an integer beyond 2^53. */
const manyDigits = /\d{16}/;

const integerText = /^-?\d+$/;

/** Parses JSON. Integers that a number cannot hold become bigints. Throws `SyntaxError`. */
export function parseJson(text: string): unknown {
  return manyDigits.test(text) ? JSON.parse(text, keepLargeIntegers) : JSON.parse(text);
}

/** Rounds large integers in the fields that hold JSON, as JSON has no exact ones. */
export function fitValues(schema: CollectionSchema, rows: SourceRow[]): SourceRow[] {
  const isExact = new Set(
    schema.fields.filter(({ type }) => type !== DataType.JSON).map(({ name }) => name),
  );
  for (const row of rows) {
    for (const name of Object.keys(row)) {
      if (!isExact.has(name)) row[name] = rounded(row[name]);
    }
  }
  return rows;
}

function keepLargeIntegers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && integerText.test(source) ? BigInt(source) : value;
}

function rounded(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(rounded);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, rounded(inner)]));
}
