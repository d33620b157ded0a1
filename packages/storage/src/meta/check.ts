/**
 * What every MetaStore checks alike, and its errors.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";

const maxValueBytes = 1024 * 1024;

/** How long a lease holds without renewal by default, in milliseconds. */
export const defaultTtlMs = 5000;

/** Refuses a value of more than 1 MiB. */
export function checkValue(value: Uint8Array): void {
  if (value.length <= maxValueBytes) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `a value has ${value.length} bytes, at most ${maxValueBytes} are allowed`,
    { field: "value" },
  );
}

/** Refuses a time that no lease can have. */
export function checkTtl(ttlMs: number | undefined): void {
  if (ttlMs === undefined) return;
  if (Number.isInteger(ttlMs) && ttlMs >= 100 && ttlMs <= 3_600_000) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `a lease of ${ttlMs} ms cannot be had: use whole milliseconds from 100 to 3600000`,
    { field: "ttlMs" },
  );
}

/** The error of an expected revision that is not there. */
export function expectationFailed(
  store: string,
  key: string,
  expected: string | null,
  current: string | undefined,
): MillraceError {
  const found = current === undefined ? "does not exist" : `has revision ${current}`;
  const wanted = expected === null ? "that it does not exist" : `revision ${expected}`;
  return new MillraceError(
    "PRECONDITION_FAILED",
    `${store}: ${key} ${found}, expected ${wanted}; read it again and decide anew`,
    current === undefined ? {} : { expected: current },
  );
}

/** The error of a call after close. */
export function closedError(store: string): MillraceError {
  return new MillraceError("ON_SHUTDOWN", `${store} is closed`, { retryable: false });
}
