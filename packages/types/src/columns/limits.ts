/**
 * Limits of one batch, so that a small request cannot ask for much memory.
 *
 * @module
 */

import { fixedWidth } from "../data-type.ts";
import { MillraceError } from "../errors.ts";
import type { FieldSchema } from "../gen/millrace/v1/schema_pb.ts";

/** The most rows of one batch. */
export const maxBatchRows = 4_194_304;

/** The longest JSON text in bytes. */
export const maxJsonBytes = 65_536;

/** The most bytes that defaults and nulls may add to one batch. */
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

/** Counts what rows take that did not send it. */
export interface FillBudget {
  /** Counts `rows` defaults or nulls of a field; throws `INVALID_ARGUMENT` if they become too many. */
  spend(field: FieldSchema, rows: number): void;
}

/** A budget of {@linkcode maxFillBytes} for one batch. */
export function createFillBudget(path: string): FillBudget {
  let spent = 0;
  return {
    spend(field, rows) {
      const width = fixedWidth(field.type, field.dimension);
      spent += rows * Math.max(width, field.defaultValue?.length ?? 0);
      if (spent <= maxFillBytes) return;
      throw new MillraceError(
        "INVALID_ARGUMENT",
        `${path} would take more than ${maxFillBytes} bytes for defaults and nulls; send fewer rows`,
        { field: path },
      );
    },
  };
}
