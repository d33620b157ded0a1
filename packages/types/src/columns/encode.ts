/**
 * Values of rows into columns.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { isVectorType, typeName } from "../data-type.ts";
import { MillraceError } from "../errors.ts";
import { type Column, ColumnSchema, DataType } from "../gen/millrace/v1/schema_pb.ts";
import { allSet, bitmapBytes, setBit } from "./bits.ts";
import { decodeBase64 } from "./base64.ts";
import { createBytesWriter } from "./bytes-writer.ts";
import { describe, type Fault } from "./faults.ts";
import { encodeVectors } from "./encode-vectors.ts";
import { findJsonProblem } from "./json-text.ts";
import { maxJsonBytes } from "./limits.ts";
import { parseTimestamp } from "./timestamp.ts";
import { bytesOf } from "./views.ts";

/** What the values of a column must be like: the part of a FieldSchema that says so. */
export interface ValueSpec {
  name: string;
  type: DataType;
  nullable: boolean;
  maxLength: number;
  dimension: number;
  elementType: DataType;
  maxCapacity: number;
}

/**
 * The column of `values`, one a row, as JSON rows have them; null is a null row if the field is
 * nullable. Throws what `fault` makes for the first value that does not fit.
 */
export function encodeValues(spec: ValueSpec, values: readonly unknown[], fault: Fault): Column {
  const column = create(ColumnSchema, { name: spec.name, type: spec.type });
  if (spec.nullable) column.validity = validityOf(values);
  Object.assign(column, encodeByType(spec, values, fault));
  return column;
}

/** The elements' spec of an ARRAY. */
export function elementSpec(spec: ValueSpec): ValueSpec {
  return { ...spec, name: "", type: spec.elementType, nullable: false };
}

type Parts = Partial<Pick<Column, "values" | "offsets" | "child">>;

function encodeByType(spec: ValueSpec, values: readonly unknown[], fault: Fault): Parts {
  if (isVectorType(spec.type)) return encodeVectors(spec, values, fault);
  switch (spec.type) {
    case DataType.BOOL:
      return encodeBools(values, fault);
    case DataType.INT8:
      return encodeInts(new Int8Array(values.length), 8, values, fault);
    case DataType.INT16:
      return encodeInts(new Int16Array(values.length), 16, values, fault);
    case DataType.INT32:
      return encodeInts(new Int32Array(values.length), 32, values, fault);
    case DataType.INT64:
      return encodeInt64s(values, fault);
    case DataType.TIMESTAMP:
      return encodeTimestamps(values, fault);
    case DataType.FLOAT:
      return encodeFloats(new Float32Array(values.length), values, fault);
    case DataType.DOUBLE:
      return encodeFloats(new Float64Array(values.length), values, fault);
    case DataType.VARCHAR:
      return encodeVarchars(spec, values, fault);
    case DataType.JSON:
      return encodeJson(spec, values, fault);
    case DataType.BYTES:
      return encodeBytes(values, fault);
    case DataType.ARRAY:
      return encodeArrays(spec, values, fault);
    default:
      throw new MillraceError("INVALID_ARGUMENT", `${typeName(spec.type)} is not a type of fields`);
  }
}

function validityOf(values: readonly unknown[]): Uint8Array {
  const bits = new Uint8Array(bitmapBytes(values.length));
  for (let i = 0; i < values.length; i++) if (values[i] !== null) setBit(bits, i);
  return allSet(bits, values.length) ? new Uint8Array(0) : bits;
}

function encodeBools(values: readonly unknown[], fault: Fault): Parts {
  const bits = new Uint8Array(bitmapBytes(values.length));
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === true) setBit(bits, i);
    else if (value !== false && value !== null) {
      throw fault(i, `must be true or false, got ${describe(value)}`);
    }
  }
  return { values: bits };
}

function encodeInts(
  target: Int8Array | Int16Array | Int32Array,
  width: 8 | 16 | 32,
  values: readonly unknown[],
  fault: Fault,
): Parts {
  const most = 2 ** (width - 1) - 1;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === null) continue;
    const number = typeof value === "bigint" ? Number(value) : value;
    if (typeof number !== "number" || !Number.isInteger(number)) {
      throw fault(i, `must be an integer, got ${describe(value)}`);
    }
    if (number > most || number < -most - 1) {
      throw fault(i, `must be from ${-most - 1} to ${most} (INT${width}), got ${value}`);
    }
    target[i] = number;
  }
  return { values: bytesOf(target) };
}

function encodeInt64s(values: readonly unknown[], fault: Fault): Parts {
  const target = createInt64Writer(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== null) putInt64(target, i, value, "an integer", fault);
  }
  return { values: target.bytes };
}

function encodeTimestamps(values: readonly unknown[], fault: Fault): Parts {
  const target = createInt64Writer(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === null) continue;
    const parsed = typeof value === "string" ? (parseTimestamp(value) ?? value) : value;
    const kind = "RFC 3339 text such as 2024-02-29T12:00:00.000001Z, or integer microseconds";
    putInt64(target, i, parsed, kind, fault);
  }
  return { values: target.bytes };
}

interface Int64Writer {
  bytes: Uint8Array;
  whole: BigInt64Array;
  halves: Int32Array;
}

function createInt64Writer(length: number): Int64Writer {
  const whole = new BigInt64Array(length);
  return { bytes: bytesOf(whole), whole, halves: new Int32Array(whole.buffer) };
}

const integerText = /^(?:0|-?[1-9]\d{0,18})$/;

function putInt64(
  target: Int64Writer,
  row: number,
  value: unknown,
  kind: string,
  fault: Fault,
): void {
  if (typeof value === "number") {
    if (!Number.isInteger(value)) throw fault(row, `must be ${kind}, got ${value}`);
    if (!Number.isSafeInteger(value)) {
      throw fault(
        row,
        `${value} is beyond 2^53 - 1 and may have been rounded; send it as a string`,
      );
    }
    target.halves[row * 2] = value;
    target.halves[row * 2 + 1] = Math.floor(value / 2 ** 32);
    return;
  }
  const big =
    typeof value === "bigint"
      ? value
      : typeof value === "string" && integerText.test(value)
        ? BigInt(value)
        : undefined;
  if (big === undefined) throw fault(row, `must be ${kind}, got ${describe(value)}`);
  if (BigInt.asIntN(64, big) !== big) {
    throw fault(
      row,
      `must be from -9223372036854775808 to 9223372036854775807, got ${describe(value)}`,
    );
  }
  target.whole[row] = big;
}

// As in the JSON form of protobuf: JSON has no numbers for them.
const floatNames: ReadonlyMap<unknown, number> = new Map<unknown, number>([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

function encodeFloats(
  target: Float32Array | Float64Array,
  values: readonly unknown[],
  fault: Fault,
): Parts {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === null) continue;
    const number = typeof value === "number" ? value : floatNames.get(value);
    if (number === undefined) throw fault(i, `must be a number, got ${describe(value)}`);
    target[i] = number;
    if (Number.isFinite(number) && !Number.isFinite(target[i])) {
      throw fault(i, `${number} is out of range for FLOAT; make the field a DOUBLE`);
    }
  }
  return { values: bytesOf(target) };
}

const loneSurrogate = /\p{Surrogate}/u;

function encodeVarchars(spec: ValueSpec, values: readonly unknown[], fault: Fault): Parts {
  const { maxLength } = spec;
  const writer = createBytesWriter(values.length, textLength(values));
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value === "string") {
      const length = writer.text(value);
      if (length > maxLength) {
        throw fault(i, `is ${length} bytes long in UTF-8; at most ${maxLength} are allowed`);
      }
      if (length !== value.length && loneSurrogate.test(value)) {
        throw fault(i, "is not valid Unicode: it has half of a surrogate pair");
      }
    } else if (value !== null) {
      throw fault(i, `must be a string, got ${describe(value)}`);
    }
    writer.endRow();
  }
  return writer.finish();
}

function textLength(values: readonly unknown[]): number {
  let length = 0;
  for (const value of values) if (typeof value === "string") length += value.length;
  return length;
}

function encodeJson(spec: ValueSpec, values: readonly unknown[], fault: Fault): Parts {
  const writer = createBytesWriter(values.length, values.length * 16);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    // Where there are no null rows, null is the JSON value null.
    if (value !== null || !spec.nullable) {
      const found = findJsonProblem(value);
      if (found) throw fault(i, found.problem, found.path);
      const length = writer.text(JSON.stringify(value));
      if (length > maxJsonBytes) {
        throw fault(i, `is ${length} bytes of JSON; at most ${maxJsonBytes} are allowed`);
      }
    }
    writer.endRow();
  }
  return writer.finish();
}

function encodeBytes(values: readonly unknown[], fault: Fault): Parts {
  const writer = createBytesWriter(values.length, values.length * 16);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== null) {
      const bytes = value instanceof Uint8Array ? value : decodeBase64(value);
      if (!bytes) throw fault(i, `must be base64 text, got ${describe(value)}`);
      writer.bytes(bytes);
    }
    writer.endRow();
  }
  return writer.finish();
}

function encodeArrays(spec: ValueSpec, values: readonly unknown[], fault: Fault): Parts {
  const offsets = new Uint32Array(values.length + 1);
  const elements: unknown[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (Array.isArray(value)) {
      if (value.length > spec.maxCapacity) {
        throw fault(i, `has ${value.length} elements; at most ${spec.maxCapacity} are allowed`);
      }
      for (let j = 0; j < value.length; j++) {
        const element = value[j] ?? null;
        if (element === null) throw fault(i, "must not be null", `[${j}]`);
        elements.push(element);
      }
    } else if (value !== null) {
      throw fault(i, `must be an array, got ${describe(value)}`);
    }
    offsets[i + 1] = elements.length;
  }
  const elementFault: Fault = (element, problem, suffix = "") => {
    if (element === undefined) return fault(element, problem, suffix);
    const row = rowOfElement(offsets, element);
    return fault(row, problem, `[${element - (offsets[row] ?? 0)}]${suffix}`);
  };
  const child = encodeValues(elementSpec(spec), elements, elementFault);
  return { offsets: bytesOf(offsets), child };
}

/** The row whose list holds an element: the last one that begins at or before it. */
export function rowOfElement(offsets: Uint32Array, element: number): number {
  let low = 0;
  let high = offsets.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((offsets[middle] ?? 0) <= element) low = middle;
    else high = middle;
  }
  return low;
}
