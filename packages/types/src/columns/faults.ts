/**
 * How errors speak of values and of where they are.
 *
 * @module
 */

import type { MillraceError } from "../errors.ts";

/**
 * Makes the error for the value of a row, or for a column as a whole where `row` is undefined.
 * `problem` is read after the path, such as "must be a string"; `suffix` leads into the value, such as
 * `[7]`.
 */
export type Fault = (row: number | undefined, problem: string, suffix?: string) => MillraceError;

/** The step of a path to a member, such as `.price`, or `["two words"]` where it is not a name. */
export function memberPath(key: string): string {
  if (/^[A-Za-z_$][\w$]{0,254}$/.test(key)) return `.${key}`;
  return `[${JSON.stringify(key.length <= 40 ? key : `${key.slice(0, 40)}…`)}]`;
}

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
      return value < 10n ** 40n && value > -(10n ** 40n) ? `${value}n` : "a huge bigint";
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) || ArrayBuffer.isView(value) ? "an array" : "an object";
    default:
      return `a ${typeof value}`;
  }
}
