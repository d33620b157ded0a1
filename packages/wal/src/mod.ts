/**
 * A durable, sequenced, fenced write-ahead log with pluggable backends.
 *
 * @module
 */

export * from "./log.ts";
export * from "./record-batch.ts";
export * from "./wal.ts";
