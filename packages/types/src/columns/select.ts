/**
 * Parts of batches, and batches put together.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { hasOffsets, typeName } from "../data-type.ts";
import { MillraceError } from "../errors.ts";
import {
  type Column,
  type ColumnBatch,
  ColumnBatchSchema,
  ColumnSchema,
  DataType,
} from "../gen/millrace/v1/schema_pb.ts";
import { allSet, bitmapBytes, copyBits, fullBitmap, takeBits } from "./bits.ts";
import { bytesOf, offsetsOf, viewAs } from "./views.ts";

const none: Uint8Array = new Uint8Array(0);

/** The rows at the indices `rows`, in that order; a row may be taken more than once. Copies. */
export function takeRows(batch: ColumnBatch, rows: Uint32Array): ColumnBatch {
  const columns = batch.columns.map((column) => takeColumn(column, batch.rows, rows));
  return create(ColumnBatchSchema, { rows: rows.length, columns });
}

/** The rows from `start` to before `end`. Values are views of the batch where they can be. */
export function sliceRows(batch: ColumnBatch, start: number, end: number): ColumnBatch {
  const from = Math.min(Math.max(start, 0), batch.rows);
  const to = Math.min(Math.max(end, from), batch.rows);
  if (from === 0 && to === batch.rows) return batch;
  const columns = batch.columns.map((column) => sliceColumn(column, batch.rows, from, to));
  return create(ColumnBatchSchema, { rows: to - from, columns });
}

/**
 * The rows of all batches, one after another. The batches must have the same columns in the same
 * order; throws `INVALID_ARGUMENT` if they do not. No batches make an empty one.
 */
export function concatBatches(batches: readonly ColumnBatch[]): ColumnBatch {
  const [first, ...others] = batches;
  if (!first) return create(ColumnBatchSchema);
  if (others.length === 0) return first;
  for (const batch of others) checkSameColumns(first, batch);
  const counts = batches.map((batch) => batch.rows);
  const columns = first.columns.map((_, index) =>
    concatColumns(
      batches.flatMap((batch) => batch.columns[index] ?? []),
      counts,
    ),
  );
  return create(ColumnBatchSchema, { rows: sum(counts), columns });
}

/** The rows of a column at `indices`. The column has `rows` rows. */
export function takeColumn(column: Column, rows: number, indices: Uint32Array): Column {
  const taken = create(ColumnSchema, { name: column.name, type: column.type });
  if (column.validity.length > 0) {
    taken.validity = normalValidity(takeBits(column.validity, indices), indices.length);
  }
  if (hasOffsets(column.type)) {
    takeLists(column, indices, taken);
  } else if (column.type === DataType.BOOL) {
    taken.values = takeBits(column.values, indices);
  } else {
    taken.values = takeFixed(column.values, rows === 0 ? 0 : column.values.length / rows, indices);
  }
  return taken;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function normalValidity(bits: Uint8Array, rows: number): Uint8Array {
  return allSet(bits, rows) ? none : bits;
}

function takeFixed(values: Uint8Array, width: number, indices: Uint32Array): Uint8Array {
  switch (width) {
    case 1:
      return takeElements(values, new Uint8Array(indices.length), indices);
    case 2:
      return takeElements(viewAs(Uint16Array, values), new Uint16Array(indices.length), indices);
    case 4:
      return takeElements(viewAs(Uint32Array, values), new Uint32Array(indices.length), indices);
    case 8:
      return takeElements(viewAs(Float64Array, values), new Float64Array(indices.length), indices);
    default: {
      const taken = new Uint8Array(indices.length * width);
      for (let i = 0; i < indices.length; i++) {
        const start = (indices[i] ?? 0) * width;
        taken.set(values.subarray(start, start + width), i * width);
      }
      return taken;
    }
  }
}

function takeElements<View extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(
  source: View,
  target: View,
  indices: Uint32Array,
): Uint8Array {
  for (let i = 0; i < indices.length; i++) target[i] = source[indices[i] ?? 0] ?? 0;
  return bytesOf(target);
}

// A call of set costs more than copying so many bytes.
const shortCopy = 32;

function takeLists(column: Column, indices: Uint32Array, taken: Column): void {
  const offsets = offsetsOf(column);
  const newOffsets = new Uint32Array(indices.length + 1);
  let total = 0;
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i] ?? 0;
    total += (offsets[row + 1] ?? 0) - (offsets[row] ?? 0);
    newOffsets[i + 1] = total;
  }
  checkTotal(total, column.name);
  taken.offsets = bytesOf(newOffsets);
  if (column.child) {
    const elements = new Uint32Array(total);
    let at = 0;
    for (const row of indices) {
      const end = offsets[row + 1] ?? 0;
      for (let element = offsets[row] ?? 0; element < end; element++) elements[at++] = element;
    }
    taken.child = takeColumn(column.child, offsets[offsets.length - 1] ?? 0, elements);
    return;
  }
  const { values } = column;
  const bytes = new Uint8Array(total);
  for (let i = 0; i < indices.length; i++) {
    const start = offsets[indices[i] ?? 0] ?? 0;
    const at = newOffsets[i] ?? 0;
    const length = (newOffsets[i + 1] ?? 0) - at;
    if (length > shortCopy) bytes.set(values.subarray(start, start + length), at);
    else for (let j = 0; j < length; j++) bytes[at + j] = values[start + j] ?? 0;
  }
  taken.values = bytes;
}

function checkTotal(total: number, name: string): void {
  if (total < 2 ** 32) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `column ${JSON.stringify(name)} would have ${total} bytes; offsets reach to 4 GiB, use smaller batches`,
  );
}

function sliceColumn(column: Column, rows: number, start: number, end: number): Column {
  const { name, type, values } = column;
  const count = end - start;
  const part = create(ColumnSchema, { name, type });
  if (column.validity.length > 0) {
    part.validity = normalValidity(sliceBits(column.validity, start, count), count);
  }
  if (type === DataType.BOOL) {
    part.values = sliceBits(values, start, count);
    return part;
  }
  if (!hasOffsets(type)) {
    const width = values.length / rows;
    part.values = values.subarray(start * width, end * width);
    return part;
  }
  const offsets = offsetsOf(column);
  const first = offsets[start] ?? 0;
  const last = offsets[end] ?? first;
  const newOffsets = offsets.slice(start, end + 1);
  if (first > 0) for (let i = 0; i <= count; i++) newOffsets[i] = (newOffsets[i] ?? 0) - first;
  part.offsets = bytesOf(newOffsets);
  if (column.child) {
    const elements = offsets[offsets.length - 1] ?? 0;
    part.child = sliceColumn(column.child, elements, first, last);
  } else {
    part.values = values.subarray(first, last);
  }
  return part;
}

function sliceBits(bits: Uint8Array, start: number, count: number): Uint8Array {
  const part = new Uint8Array(bitmapBytes(count));
  copyBits(bits, start, count, part, 0);
  return part;
}

function checkSameColumns(first: ColumnBatch, other: ColumnBatch): void {
  const shape = (batch: ColumnBatch): string =>
    batch.columns.map(({ name, type }) => `${name} ${typeName(type)}`).join(", ");
  if (shape(first) === shape(other)) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `batches of different columns cannot be put together: (${shape(first)}) and (${shape(other)})`,
  );
}

function concatColumns(columns: readonly Column[], counts: readonly number[]): Column {
  const { name = "", type = DataType.UNSPECIFIED } = columns[0] ?? {};
  const whole = create(ColumnSchema, { name, type });
  const rows = sum(counts);
  if (columns.some(({ validity }) => validity.length > 0)) {
    const validities = columns.map(({ validity }, index) =>
      validity.length > 0 ? validity : fullBitmap(counts[index] ?? 0),
    );
    whole.validity = normalValidity(concatBits(validities, counts), rows);
  }
  if (type === DataType.BOOL) {
    whole.values = concatBits(
      columns.map(({ values }) => values),
      counts,
    );
    return whole;
  }
  if (hasOffsets(type)) whole.offsets = bytesOf(concatOffsets(columns, rows, name));
  const children = columns.flatMap(({ child }) => child ?? []);
  if (children.length > 0) {
    const lengths = columns.map((column) => offsetsOf(column).at(-1) ?? 0);
    whole.child = concatColumns(children, lengths);
  } else {
    whole.values = concatBytes(columns.map(({ values }) => values));
  }
  return whole;
}

function concatBits(parts: readonly Uint8Array[], counts: readonly number[]): Uint8Array {
  const bits = new Uint8Array(bitmapBytes(sum(counts)));
  let at = 0;
  parts.forEach((part, index) => {
    const count = counts[index] ?? 0;
    copyBits(part, 0, count, bits, at);
    at += count;
  });
  return bits;
}

function concatOffsets(columns: readonly Column[], rows: number, name: string): Uint32Array {
  const whole = new Uint32Array(rows + 1);
  let row = 0;
  let base = 0;
  for (const column of columns) {
    const offsets = offsetsOf(column);
    for (let i = 1; i < offsets.length; i++) whole[++row] = base + (offsets[i] ?? 0);
    base += offsets.at(-1) ?? 0;
  }
  checkTotal(base, name);
  return whole;
}

function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(sum(parts.map((part) => part.length)));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
