/**
 * From the columns of many messages to one array per field, as the Parquet writer takes it: typed
 * arrays for numbers, views for text and bytes, no object per row of a scalar.
 *
 * @module
 */

import {
  fromBfloat16,
  fromFloat16,
  MillraceError,
  offsetsOf,
  type TypedValues,
  typedValues,
} from "@millrace/types";
import { type Column, DataType, type FieldSchema } from "@millrace/types/gen";
import { createInterner, type Interner } from "./interner.ts";

/** Some rows of one message. */
export interface ColumnSlice {
  /** Absent if the message was written before the field existed. */
  column: Column | undefined;
  /** The first row and the row behind the last one. */
  start: number;
  end: number;
  /** Of the batch that holds the message, for errors. */
  sequence: number;
}

type NumberArray = Int32Array | BigInt64Array | Float32Array | Float64Array;

/** The values of a field: a typed array, or an array with `null` where there is none. */
export type FieldValues = NumberArray | unknown[];

/** What is needed of a field: a FieldSchema, or the element of an array. */
export type FieldShape = Pick<
  FieldSchema,
  "name" | "type" | "nullable" | "elementType" | "dimension"
>;

/**
 * The values of a field over slices, in order. Throws `DATA_LOSS` with the sequence if a column is too
 * short for its rows, of another type, or absent although the field is not nullable.
 */
export function columnData(field: FieldShape, slices: readonly ColumnSlice[]): FieldValues {
  const rows = slices.reduce((sum, { start, end }) => sum + end - start, 0);
  const numbers = numbersFor(field.type, rows);
  if (!numbers) return collect(field, slices, rows);
  fill(field, slices, numbers);
  return withNulls(numbers, slices);
}

function numbersFor(type: DataType, rows: number): NumberArray | undefined {
  switch (type) {
    case DataType.INT8:
    case DataType.INT16:
    case DataType.INT32:
      return new Int32Array(rows);
    case DataType.INT64:
    case DataType.TIMESTAMP:
      return new BigInt64Array(rows);
    case DataType.FLOAT:
      return new Float32Array(rows);
    case DataType.DOUBLE:
      return new Float64Array(rows);
    default:
      return undefined;
  }
}

function fill(field: FieldShape, slices: readonly ColumnSlice[], target: NumberArray): void {
  let at = 0;
  for (const slice of slices) {
    const column = present(field, slice);
    if (column) {
      const values = typedValues(column);
      if (values.length < slice.end) throw damaged(field, slice, "too few values");
      place(target, values.subarray(slice.start, slice.end), at);
    }
    at += slice.end - slice.start;
  }
}

function place(target: NumberArray, values: TypedValues, at: number): void {
  if (target instanceof BigInt64Array) {
    if (values instanceof BigInt64Array) target.set(values, at);
  } else if (!(values instanceof BigInt64Array)) {
    target.set(values, at);
  }
}

/** The numbers as they are if every row has one, else an array with `null` in the gaps. */
function withNulls(numbers: NumberArray, slices: readonly ColumnSlice[]): FieldValues {
  if (slices.every(isComplete)) return numbers;
  const values: unknown[] = Array.from<unknown>(numbers);
  let at = 0;
  for (const slice of slices) {
    for (let row = slice.start; row < slice.end; row++, at++) {
      if (isNull(slice, row)) values[at] = null;
    }
  }
  return values;
}

function collect(field: FieldShape, slices: readonly ColumnSlice[], rows: number): unknown[] {
  const values = new Array<unknown>(rows);
  const intern = createInterner();
  let at = 0;
  for (const slice of slices) {
    const column = present(field, slice);
    const read = column && reader(field, slice, column, intern);
    const complete = isComplete(slice);
    for (let row = slice.start; row < slice.end; row++) {
      values[at++] = read && (complete || !isNull(slice, row)) ? read(row) : null;
    }
  }
  return values;
}

type Read = (row: number) => unknown;

function reader(field: FieldShape, slice: ColumnSlice, column: Column, intern: Interner): Read {
  switch (field.type) {
    case DataType.BOOL:
      return bools(field, slice, column);
    case DataType.VARCHAR:
    case DataType.JSON:
    case DataType.BYTES:
      return texts(field, slice, column, intern);
    case DataType.ARRAY:
      return arrays(field, slice, column);
    case DataType.BINARY_VECTOR:
      return binaryVectors(field, slice, column);
    case DataType.SPARSE_VECTOR:
      return sparseVectors(field, slice, column);
    default:
      return vectors(field, slice, column);
  }
}

function bools(field: FieldShape, slice: ColumnSlice, { values }: Column): Read {
  if (values.length * 8 < slice.end) throw damaged(field, slice, "too few values");
  return (row) => bit(values, row);
}

function texts(field: FieldShape, slice: ColumnSlice, column: Column, intern: Interner): Read {
  const { values } = column;
  const bounds = boundsOf(field, slice, column, values.length);
  return (row) => intern(values, bounds[row] ?? 0, bounds[row + 1] ?? 0);
}

function arrays(field: FieldShape, slice: ColumnSlice, column: Column): Read {
  const { start, end, sequence } = slice;
  const bounds = boundsOf(field, slice, column, Number.POSITIVE_INFINITY);
  const first = bounds[start] ?? 0;
  const shape: FieldShape = {
    name: `${field.name}[]`,
    type: field.elementType,
    nullable: bounds[end] === first,
    elementType: DataType.UNSPECIFIED,
    dimension: 0,
  };
  const elements = columnData(shape, [
    { column: column.child, start: first, end: bounds[end] ?? first, sequence },
  ]);
  return (row) =>
    Array.from<unknown>(
      elements.slice((bounds[row] ?? first) - first, (bounds[row + 1] ?? first) - first),
    );
}

function binaryVectors(field: FieldShape, slice: ColumnSlice, { values }: Column): Read {
  const width = field.dimension / 8;
  if (values.length < slice.end * width) throw damaged(field, slice, "too few values");
  return (row) => values.subarray(row * width, (row + 1) * width);
}

function sparseVectors(field: FieldShape, slice: ColumnSlice, column: Column): Read {
  const { values } = column;
  const bounds = boundsOf(field, slice, column, values.length);
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  return (row) => {
    const pairs: { index: bigint; value: number }[] = [];
    const end = bounds[row + 1] ?? 0;
    for (let at = bounds[row] ?? 0; at + 8 <= end; at += 8) {
      pairs.push({ index: BigInt(view.getUint32(at, true)), value: view.getFloat32(at + 4, true) });
    }
    return pairs;
  };
}

function vectors(field: FieldShape, slice: ColumnSlice, column: Column): Read {
  const { dimension, type } = field;
  const values = typedValues(column);
  if (values.length < slice.end * dimension) throw damaged(field, slice, "too few values");
  const numbers = (row: number): unknown[] =>
    Array.from<unknown>(values.subarray(row * dimension, (row + 1) * dimension));
  const halves = (convert: (half: number) => number): Read => {
    return (row) => numbers(row).map((half) => convert(Number(half)));
  };
  if (type === DataType.FLOAT16_VECTOR) return halves(fromFloat16);
  if (type === DataType.BFLOAT16_VECTOR) return halves(fromBfloat16);
  return numbers;
}

/** The column, or `undefined` where the field may be null without one. */
function present(field: FieldShape, slice: ColumnSlice): Column | undefined {
  const { column } = slice;
  if (!column) {
    if (field.nullable || slice.start === slice.end) return undefined;
    throw damaged(field, slice, "no column");
  }
  if (column.type !== field.type) throw damaged(field, slice, "a column of another type");
  return column;
}

function boundsOf(
  field: FieldShape,
  slice: ColumnSlice,
  column: Column,
  limit: number,
): Uint32Array {
  const bounds = offsetsOf(column);
  if (bounds.length <= slice.end) throw damaged(field, slice, "too few offsets");
  for (let row = slice.start; row < slice.end; row++) {
    if ((bounds[row] ?? 0) > (bounds[row + 1] ?? 0)) throw damaged(field, slice, "broken offsets");
  }
  if ((bounds[slice.end] ?? 0) > limit) throw damaged(field, slice, "too few values");
  return bounds;
}

function isComplete({ column }: ColumnSlice): boolean {
  return column !== undefined && column.validity.length === 0;
}

function isNull({ column }: ColumnSlice, row: number): boolean {
  if (!column) return true;
  return column.validity.length > 0 && !bit(column.validity, row);
}

function bit(bits: Uint8Array, index: number): boolean {
  return (((bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 1;
}

function damaged(field: FieldShape, slice: ColumnSlice, what: string): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `the rows at sequence ${slice.sequence} have ${what} for ${field.name}; they cannot be flushed`,
  );
}
