/**
 * How errors speak of values and where they are.
 *
 * @module
 */

import type { MillraceError } from "../errors.ts";

/**
 * Makes the error for the value of a row. `problem` is read after the value's path, such as "must be a
 * string"; `suffix` leads into the value, such as `[7]`.
 */
export type Fault = (row: number, problem: string, suffix?: string) => MillraceError;

/** Makes the error for a column; `suffix` leads to the value, such as `[3]`. */
export type ColumnFault = (problem: string, suffix?: string) => MillraceError;

/** A value as an error message shows it: its kind, or the value itself if it is short. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case "string":
      return value.length <= 40 ? JSON.stringify(value) : `a string of ${value.length} characters`;
    case "number":
    case "boolean":
    case "undefined":
      return String(value);
    case "bigint":
      return `${value}n`;
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) || ArrayBuffer.isView(value) ? "an array" : "an object";
    default:
      return `a ${typeof value}`;
  }
}
