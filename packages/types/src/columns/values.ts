/**
 * Columns read value by value.
 *
 * @module
 */

import { type Column, DataType } from "../gen/millrace/v1/schema_pb.ts";
import { getBit } from "./bits.ts";
import { fromBfloat16, fromFloat16 } from "./float16.ts";
import { bytesOf, int64Values, offsetsOf, typedValues, viewAs } from "./views.ts";

/** The value of a SPARSE_VECTOR: indices, ascending, and the value at each. */
export interface SparseVector {
  indices: Uint32Array;
  values: Float32Array;
}

/**
 * A value of a column:
 *
 * - BOOL: boolean; INT8 .. INT32, FLOAT, DOUBLE: number
 * - INT64, TIMESTAMP (microseconds): bigint
 * - VARCHAR, JSON (its text): string
 * - BYTES, BINARY_VECTOR: Uint8Array; INT8_VECTOR: Int8Array
 * - FLOAT_VECTOR, FLOAT16_VECTOR, BFLOAT16_VECTOR: Float32Array
 * - SPARSE_VECTOR: {@linkcode SparseVector}
 * - ARRAY: an array of values
 */
export type CellValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Int8Array
  | Float32Array
  | SparseVector
  | CellValue[];

/** Reads the values of one column. */
export interface ColumnReader {
  /** How many rows the column has. */
  readonly length: number;
  /** Whether row `row` is null. */
  isNull(row: number): boolean;
  /** The value of row `row`, or null. Byte and number arrays may share the column's memory. */
  get(row: number): CellValue;
}

/**
 * A reader of a column of `rows` rows (a column does not say how many bits or vectors it holds; its
 * batch does).
 */
export function columnAt(column: Column, rows: number): ColumnReader {
  const { validity } = column;
  const read = valueReader(column, rows);
  const isNull = (row: number): boolean => validity.length > 0 && !getBit(validity, row);
  return { length: rows, isNull, get: (row) => (isNull(row) ? null : read(row)) };
}

type Read = (row: number) => CellValue;

function valueReader(column: Column, rows: number): Read {
  const { type, values } = column;
  switch (type) {
    case DataType.BOOL:
      return (row) => getBit(values, row);
    case DataType.INT64:
    case DataType.TIMESTAMP: {
      const view = int64Values(column);
      return (row) => view[row] ?? null;
    }
    case DataType.VARCHAR:
    case DataType.JSON:
      return textReader(column);
    case DataType.BYTES: {
      const offsets = offsetsOf(column);
      return (row) => values.subarray(offsets[row], offsets[row + 1]);
    }
    case DataType.ARRAY:
      return arrayReader(column);
    case DataType.SPARSE_VECTOR:
      return sparseReader(column);
    case DataType.FLOAT_VECTOR:
    case DataType.INT8_VECTOR:
    case DataType.BINARY_VECTOR: {
      const view = typedValues(column) as Float32Array | Int8Array | Uint8Array;
      const width = rows === 0 ? 0 : view.length / rows;
      return (row) => view.subarray(row * width, (row + 1) * width);
    }
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
      return halfVectorReader(column, rows);
    default: {
      const view = typedValues(column) as Int8Array | Int16Array | Float64Array;
      return (row) => view[row] ?? null;
    }
  }
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function textReader(column: Column): Read {
  const { values } = column;
  const offsets = offsetsOf(column);
  // One decoding for all rows is much cheaper than one for each; where every character is one byte,
  // byte offsets are offsets into the text.
  let all: string | undefined;
  return (row) => {
    all ??= decoder.decode(values);
    const start = offsets[row] ?? 0;
    const end = offsets[row + 1] ?? start;
    if (all.length === values.length) return all.slice(start, end);
    return decoder.decode(values.subarray(start, end));
  };
}

function arrayReader(column: Column): Read {
  const offsets = offsetsOf(column);
  const { child } = column;
  const elements = child && columnAt(child, offsets[offsets.length - 1] ?? 0);
  return (row) => {
    const list: CellValue[] = [];
    const end = offsets[row + 1] ?? 0;
    for (let i = offsets[row] ?? end; elements && i < end; i++) list.push(elements.get(i));
    return list;
  };
}

function halfVectorReader(column: Column, rows: number): Read {
  const convert = column.type === DataType.FLOAT16_VECTOR ? fromFloat16 : fromBfloat16;
  const view = viewAs(Uint16Array, column.values);
  const width = rows === 0 ? 0 : view.length / rows;
  return (row) => {
    const vector = new Float32Array(width);
    for (let i = 0; i < width; i++) vector[i] = convert(view[row * width + i] ?? 0);
    return vector;
  };
}

function sparseReader(column: Column): Read {
  const offsets = offsetsOf(column);
  const words = viewAs(Uint32Array, column.values);
  const floats = viewAs(Float32Array, bytesOf(words));
  return (row) => {
    const start = (offsets[row] ?? 0) / 4;
    const count = ((offsets[row + 1] ?? 0) / 4 - start) / 2;
    const vector = { indices: new Uint32Array(count), values: new Float32Array(count) };
    for (let i = 0; i < count; i++) {
      vector.indices[i] = words[start + 2 * i] ?? 0;
      vector.values[i] = floats[start + 2 * i + 1] ?? 0;
    }
    return vector;
  };
}
