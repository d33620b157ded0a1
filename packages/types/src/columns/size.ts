/**
 * How large batches are.
 *
 * @module
 */

import { hasOffsets } from "../data-type.ts";
import { type Column, type ColumnBatch, DataType } from "../gen/millrace/v1/schema_pb.ts";
import { offsetsOf } from "./views.ts";

// Tags, lengths, type: what protobuf adds to a column at most, but for its name.
const columnOverhead = 32;

/** The encoded size of a batch in bytes: never less than it is, and a few bytes a column more. */
export function batchBytes(batch: ColumnBatch): number {
  return batch.columns.reduce((total, column) => total + columnBytes(column), 8);
}

/** What each row takes in bytes: its values, and 4 for each offset. Bits count as a byte. */
export function rowBytes(batch: ColumnBatch): Uint32Array {
  const sizes = new Uint32Array(batch.rows);
  for (const column of batch.columns) addRowBytes(column, sizes);
  return sizes;
}

function columnBytes({ name, values, offsets, validity, child }: Column): number {
  // A character of a name takes at most 3 bytes.
  const own = columnOverhead + name.length * 3 + values.length + offsets.length + validity.length;
  return own + (child ? columnBytes(child) : 0);
}

function addRowBytes(column: Column, sizes: Uint32Array): void {
  const rows = sizes.length;
  if (!hasOffsets(column.type)) {
    const width = column.type === DataType.BOOL ? 1 : column.values.length / Math.max(rows, 1);
    for (let row = 0; row < rows; row++) sizes[row] = (sizes[row] ?? 0) + width;
    return;
  }
  const offsets = offsetsOf(column);
  if (!column.child) {
    for (let row = 0; row < rows; row++) {
      const length = (offsets[row + 1] ?? 0) - (offsets[row] ?? 0);
      sizes[row] = (sizes[row] ?? 0) + 4 + length;
    }
    return;
  }
  const elements = new Uint32Array(offsets.at(-1) ?? 0);
  addRowBytes(column.child, elements);
  for (let row = 0; row < rows; row++) {
    let size = 4;
    const end = offsets[row + 1] ?? 0;
    for (let i = offsets[row] ?? end; i < end; i++) size += elements[i] ?? 0;
    sizes[row] = (sizes[row] ?? 0) + size;
  }
}
