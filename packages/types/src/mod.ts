/**
 * Names, ticks, ids, schemas, columns and errors of Millrace. No I/O.
 *
 * @module
 */

export * from "./columns/mod.ts";
export { typeName } from "./data-type.ts";
export * from "./errors.ts";
export * from "./live.ts";
export * from "./names.ts";
export * from "./position.ts";
export * from "./runtime.ts";
export * from "./schema.ts";
export * from "./tick.ts";
