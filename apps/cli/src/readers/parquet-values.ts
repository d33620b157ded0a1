/**
 * Values of a Parquet column to a column of Millrace, without a row in between.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { typeName } from "@millrace/types";
import { type Column, ColumnSchema, DataType, type FieldSchema } from "@millrace/types/gen";
import type { DecodedArray } from "hyparquet";
import { failure } from "../errors.ts";

/** Values of a column of a file: rows `start` to `end - 1` of `data` are meant. */
export interface ValueRange {
  data: DecodedArray;
  start: number;
  end: number;
}

/**
 * Builds the column of a field. Nulls are `null` or `undefined` among the values; texts are their
 * UTF-8 bytes; integers are numbers, or bigints beyond 2^53; timestamps count microseconds.
 * Throws an error that begins with the field's name if a value does not fit.
 */
export function buildColumn(field: FieldSchema, range: ValueRange): Column {
  const { name, type } = field;
  const column = create(ColumnSchema, { name, type });
  const validity = validityOf(range);
  if (validity) column.validity = validity;
  switch (type) {
    case DataType.BOOL:
      column.values = boolValues(range);
      break;
    case DataType.VARCHAR:
    case DataType.JSON:
    case DataType.BYTES: {
      const { values, offsets } = byteValues(range);
      column.values = values;
      column.offsets = offsets;
      break;
    }
    case DataType.INT64:
    case DataType.TIMESTAMP:
      column.values = int64Bytes(name, range);
      break;
    default:
      column.values = numberValues(field, range);
  }
  return column;
}

function validityOf({ data, start, end }: ValueRange): Uint8Array | undefined {
  if (!Array.isArray(data)) return undefined;
  let validity: Uint8Array | undefined;
  for (let row = start; row < end; row++) {
    const value: unknown = data[row];
    if (value !== null && value !== undefined) continue;
    const at = row - start;
    validity ??= allValid(end - start);
    validity[at >> 3] = (validity[at >> 3] ?? 0) & ~(1 << (at & 7));
  }
  return validity;
}

function allValid(rows: number): Uint8Array {
  const validity = new Uint8Array(Math.ceil(rows / 8)).fill(0xff);
  if (rows & 7) validity[validity.length - 1] = (1 << (rows & 7)) - 1;
  return validity;
}

function boolValues({ data, start, end }: ValueRange): Uint8Array {
  const bits = new Uint8Array(Math.ceil((end - start) / 8));
  for (let row = start; row < end; row++) {
    const at = row - start;
    if (data[row]) bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
  }
  return bits;
}

function byteValues({ data, start, end }: ValueRange): { values: Uint8Array; offsets: Uint8Array } {
  const offsets = new Uint32Array(end - start + 1);
  let length = 0;
  for (let row = start; row < end; row++) {
    length += (data[row] as Uint8Array | null | undefined)?.length ?? 0;
    offsets[row - start + 1] = length;
  }
  const values = new Uint8Array(length);
  let at = 0;
  for (let row = start; row < end; row++) {
    const value = data[row] as Uint8Array | null | undefined;
    if (!value) continue;
    // Most texts are short: a loop beats the call of `set`.
    if (value.length > 24) values.set(value, at);
    else for (let i = 0; i < value.length; i++) values[at + i] = value[i] ?? 0;
    at += value.length;
  }
  return { values, offsets: new Uint8Array(offsets.buffer) };
}

function int64Bytes(name: string, { data, start, end }: ValueRange): Uint8Array {
  if (data instanceof BigInt64Array) {
    const part = data.subarray(start, end);
    return new Uint8Array(part.buffer, part.byteOffset, part.byteLength).slice();
  }
  const buffer = new ArrayBuffer((end - start) * 8);
  const words = new Int32Array(buffer);
  const whole = new BigInt64Array(buffer);
  for (let row = start; row < end; row++) {
    const value: unknown = data[row];
    const at = row - start;
    if (typeof value === "number") {
      // No bigint is made: the halves of a safe integer, in two's complement.
      words[2 * at] = value;
      words[2 * at + 1] = Math.floor(value / 4_294_967_296);
    } else if (typeof value === "bigint") {
      if (BigInt.asIntN(64, value) !== value) throw outOfRange(name, value, "INT64");
      whole[at] = value;
    }
  }
  return new Uint8Array(buffer);
}

type NumberArray = Int8Array | Int16Array | Int32Array | Float32Array | Float64Array;

const integerLimits: Readonly<Partial<Record<DataType, number>>> = {
  [DataType.INT8]: 2 ** 7,
  [DataType.INT16]: 2 ** 15,
  [DataType.INT32]: 2 ** 31,
};

function numberValues(field: FieldSchema, { data, start, end }: ValueRange): Uint8Array {
  const values = numberArray(field.type, end - start);
  const limit = integerLimits[field.type] ?? Number.POSITIVE_INFINITY;
  for (let row = start; row < end; row++) {
    const value = Number(data[row] ?? 0);
    if (value >= limit || value < -limit) throw outOfRange(field.name, value, typeName(field.type));
    values[row - start] = value;
  }
  return new Uint8Array(values.buffer);
}

function numberArray(type: DataType, rows: number): NumberArray {
  switch (type) {
    case DataType.INT8:
      return new Int8Array(rows);
    case DataType.INT16:
      return new Int16Array(rows);
    case DataType.INT32:
      return new Int32Array(rows);
    case DataType.FLOAT:
      return new Float32Array(rows);
    default:
      return new Float64Array(rows);
  }
}

function outOfRange(name: string, value: unknown, type: string): Error {
  return failure(`${name} has the value ${value}, which ${type} cannot hold`);
}
