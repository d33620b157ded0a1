/**
 * What every log backend must do, as tests for Vitest, and the checker of histories that they use.
 *
 * @module
 */

export { type CheckOptions, checkHistory, type Violation, type ViolationKind } from "./checker.ts";
export * from "./history.ts";
export * from "./harness.ts";
export { describeLogBackend } from "./log-backend.ts";
export { describeWal } from "./wal.ts";
