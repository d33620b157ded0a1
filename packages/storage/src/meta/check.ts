/**
 * What every MetaStore checks alike, and its errors.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { checkKey } from "../keys.ts";

const maxValueBytes = 1024 * 1024;
const maxKeyBytes = 800;
const maxSegmentBytes = 240;

/** How long a lease holds without renewal by default, in milliseconds. */
export const defaultTtlMs = 5000;

/**
 * Refuses with `INVALID_ARGUMENT` what is not a key of a MetaStore: as keys of an ObjectStore, but
 * shorter, so that adapters may put something before and behind it.
 */
export function checkMetaKey(key: string): void {
  checkKey(key);
  const bytes = (text: string): number => new TextEncoder().encode(text).length;
  const isShort = bytes(key) <= maxKeyBytes;
  if (isShort && key.split("/").every((part) => bytes(part) <= maxSegmentBytes)) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `a key has more than ${maxKeyBytes} bytes, or more than ${maxSegmentBytes} between slashes`,
    { field: "key" },
  );
}

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

/** The error of an expected revision that is not there; `maybeApplied` as in MillraceError. */
export function expectationFailed(
  store: string,
  key: string,
  expected: string | null,
  current: string | undefined,
  maybeApplied = false,
): MillraceError {
  const found = current === undefined ? "" : `has revision ${current}, `;
  const wanted = expected === null ? "that it did not exist" : `revision ${expected}`;
  return new MillraceError(
    "PRECONDITION_FAILED",
    `${store}: ${key} has changed: ${found}expected ${wanted}; read it again and decide anew`,
    { maybeApplied, ...(current === undefined ? {} : { expected: current }) },
  );
}

/** The error of a call after close, or of one that a close has ended: that may have been applied. */
export function closedError(store: string, maybeApplied = false): MillraceError {
  const options = { retryable: false, maybeApplied };
  return new MillraceError("ON_SHUTDOWN", `${store} is closed`, options);
}
