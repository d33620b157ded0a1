/**
 * Object and metadata storage behind two small contracts.
 *
 * @module
 */

export * from "./meta-store.ts";
export * from "./object-store.ts";
