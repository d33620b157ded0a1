/**
 * Cells of CSV to the values that a schema asks for.
 *
 * @module
 */

import { type CollectionSchema, DataType, type FieldSchema } from "@millrace/types/gen";
import { failure } from "../errors.ts";
import { parseJson } from "./json.ts";
import type { SourceRow } from "./rows.ts";

/** Answers a value of JSON, or throws an error without a place. */
type Fit = (text: string) => unknown;

/**
 * Turns the texts of rows, in place, into JSON values by the types of a schema. Null stays null, or is
 * left out where the field has a default; an empty quoted text is null too, except for VARCHAR and
 * BYTES. Errors name the place and the field.
 */
export function fitCells(
  schema: CollectionSchema,
  rows: SourceRow[],
  place: (index: number) => string,
): SourceRow[] {
  for (const field of schema.fields) {
    const { name } = field;
    const fit = fitOf(field);
    const filled = field.defaultValue !== undefined && !field.nullable;
    rows.forEach((row, index) => {
      const text = row[name];
      try {
        if (typeof text === "string") row[name] = fit(text);
        // A default is used where a row lacks the field.
        else if (text === null && filled) row[name] = undefined;
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        throw failure(`${place(index)}: ${name} ${problem}`, error);
      }
    });
  }
  return rows;
}

function fitOf(field: FieldSchema): Fit {
  switch (field.type) {
    case DataType.VARCHAR:
    case DataType.BYTES:
      return (text) => text;
    case DataType.TIMESTAMP:
      return (text) => (text === "" ? null : fitTimestamp(text));
    case DataType.BOOL:
      return (text) => (text === "" ? null : fitBool(text));
    case DataType.INT8:
    case DataType.INT16:
    case DataType.INT32:
    case DataType.INT64:
      return (text) => (text === "" ? null : fitInteger(text));
    case DataType.FLOAT:
    case DataType.DOUBLE:
      return (text) => (text === "" ? null : fitNumber(text));
    default:
      return (text) => (text === "" ? null : fitJson(text));
  }
}

function fitBool(text: string): boolean {
  const lower = text.toLowerCase();
  if (lower === "true" || lower === "1") return true;
  if (lower === "false" || lower === "0") return false;
  throw mismatch("true or false", text);
}

function fitInteger(text: string): number | bigint {
  if (!/^[+-]?\d+$/.test(text)) throw mismatch("an integer", text);
  return text.length < 16 ? Number(text) : BigInt(text.replace(/^\+/, ""));
}

function fitNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || !/\d$|\.$/.test(text)) throw mismatch("a number", text);
  return value;
}

/** Microseconds are an integer in JSON; everything else is a text for the conversion to judge. */
function fitTimestamp(text: string): string | number | bigint {
  return /^-?\d+$/.test(text) ? fitInteger(text) : text;
}

function fitJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw mismatch("JSON", text);
  }
}

function mismatch(wanted: string, text: string): Error {
  const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  return failure(`must be ${wanted}, got "${shown}"`);
}
