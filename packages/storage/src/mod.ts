/**
 * Object and metadata storage behind two small contracts.
 *
 * @module
 */

export { createMemoryMetaStore, type MemoryMetaStoreOptions } from "./meta/memory.ts";
export * from "./meta-store.ts";
export { createMemoryObjectStore } from "./object/memory.ts";
export * from "./object-store.ts";
