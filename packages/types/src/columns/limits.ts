/**
 * Limits of one batch, so that a small request cannot ask for much memory.
 *
 * @module
 */

import { MillraceError } from "../errors.ts";

/** The most rows of one batch. */
export const maxBatchRows = 4_194_304;

/** The most bytes that default values may add to one batch. */
export const maxFillBytes: number = 256 * 1024 * 1024;

/** Refuses a batch without rows and one with too many. */
export function checkRowCount(rows: number, path: string): void {
  if (rows === 0) {
    throw new MillraceError("INVALID_ARGUMENT", `${path} has no rows; send at least one`, {
      field: path,
    });
  }
  if (rows > maxBatchRows) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `${path} has ${rows} rows; at most ${maxBatchRows} are allowed, send several batches`,
      { field: path },
    );
  }
}

/** Refuses default values that would add too many bytes. */
export function checkFill(bytes: number, path: string): void {
  if (bytes <= maxFillBytes) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `default values would add ${bytes} bytes; at most ${maxFillBytes} are allowed, send fewer rows`,
    { field: path },
  );
}
