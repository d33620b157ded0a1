/**
 * Names, ticks, ids, schemas, columns and errors of Millrace. No I/O.
 *
 * @module
 */

export * from "./errors.ts";
export * from "./names.ts";
export * from "./position.ts";
export * from "./runtime.ts";
export * from "./tick.ts";
