/**
 * A durable, sequenced, fenced write-ahead log with pluggable backends.
 *
 * @module
 */

export * from "./backends/memory.ts";
export { type Crc32, crc32 } from "./crc32.ts";
export { decodeBatch, decodeBatches } from "./decode.ts";
export { type BatchAppend, type BatchInput, type CodecOptions, encodeBatch } from "./encode.ts";
export * from "./log.ts";
export {
  defaultPressureLimits,
  type PressureLimits,
  type ThrottleOptions,
} from "./append/throttle.ts";
export { openWal } from "./open-wal.ts";
export * from "./read/mod.ts";
export * from "./record-batch.ts";
export { decodeWalSnapshot, encodeWalSnapshot } from "./snapshot-codec.ts";
export * from "./wal.ts";
export type { OpenWalOptions } from "./wal-options.ts";
