/**
 * Vectors of rows into columns.
 *
 * @module
 */

import { typeName } from "../data-type.ts";
import { type Column, DataType } from "../gen/millrace/v1/schema_pb.ts";
import { decodeBase64 } from "./base64.ts";
import { describe, type Fault } from "./faults.ts";
import { toBfloat16, toFloat16 } from "./float16.ts";
import { bytesOf } from "./views.ts";

/** What the vectors of a column must be like. */
export interface VectorSpec {
  type: DataType;
  dimension: number;
}

type Parts = Pick<Column, "values"> & Partial<Pick<Column, "offsets">>;

/** The values (and offsets) of `vectors`, one a row; null rows hold zeros. */
export function encodeVectors(spec: VectorSpec, vectors: readonly unknown[], fault: Fault): Parts {
  switch (spec.type) {
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
      return encodeHalfVectors(spec, vectors, fault);
    case DataType.INT8_VECTOR:
      return encodeInt8Vectors(spec, vectors, fault);
    case DataType.BINARY_VECTOR:
      return encodeBinaryVectors(spec, vectors, fault);
    case DataType.SPARSE_VECTOR:
      return encodeSparseVectors(vectors, fault);
    default:
      return encodeFloatVectors(spec, vectors, fault);
  }
}

function numbersOf(
  value: unknown,
  dimension: number,
  row: number,
  fault: Fault,
): ArrayLike<unknown> {
  if (!Array.isArray(value) && !isTypedArray(value)) {
    throw fault(row, `must be an array of ${dimension} numbers, got ${describe(value)}`);
  }
  if (value.length !== dimension) {
    throw fault(row, `has dimension ${value.length}; the field has dimension ${dimension}`);
  }
  return value;
}

function isTypedArray(value: unknown): value is ArrayLike<unknown> & ArrayBufferView {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

function finite(value: unknown, row: number, index: number, fault: Fault): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw fault(row, `must be a finite number, got ${describe(value)}`, `[${index}]`);
}

function tooLarge(value: number, type: DataType, row: number, index: number, fault: Fault): Error {
  return fault(row, `${value} is out of range for ${typeName(type)}`, `[${index}]`);
}

function encodeFloatVectors(spec: VectorSpec, vectors: readonly unknown[], fault: Fault): Parts {
  const { type, dimension } = spec;
  const target = new Float32Array(vectors.length * dimension);
  for (let row = 0; row < vectors.length; row++) {
    const vector = vectors[row];
    if (vector === null) continue;
    const numbers = numbersOf(vector, dimension, row, fault);
    const base = row * dimension;
    for (let i = 0; i < dimension; i++) {
      const value = finite(numbers[i], row, i, fault);
      target[base + i] = value;
      if (!Number.isFinite(target[base + i])) throw tooLarge(value, type, row, i, fault);
    }
  }
  return { values: bytesOf(target) };
}

function encodeHalfVectors(spec: VectorSpec, vectors: readonly unknown[], fault: Fault): Parts {
  const { type, dimension } = spec;
  const [convert, infinity] =
    type === DataType.FLOAT16_VECTOR
      ? ([toFloat16, 0x7c00] as const)
      : ([toBfloat16, 0x7f80] as const);
  const target = new Uint16Array(vectors.length * dimension);
  for (let row = 0; row < vectors.length; row++) {
    const vector = vectors[row];
    if (vector === null) continue;
    const numbers = numbersOf(vector, dimension, row, fault);
    const base = row * dimension;
    for (let i = 0; i < dimension; i++) {
      const value = finite(numbers[i], row, i, fault);
      const half = convert(value);
      if ((half & 0x7fff) === infinity) throw tooLarge(value, type, row, i, fault);
      target[base + i] = half;
    }
  }
  return { values: bytesOf(target) };
}

function encodeInt8Vectors(spec: VectorSpec, vectors: readonly unknown[], fault: Fault): Parts {
  const { dimension } = spec;
  const target = new Int8Array(vectors.length * dimension);
  for (let row = 0; row < vectors.length; row++) {
    const vector = vectors[row];
    if (vector === null) continue;
    const numbers = numbersOf(vector, dimension, row, fault);
    for (let i = 0; i < dimension; i++) {
      target[row * dimension + i] = integerIn(numbers[i], -128, 127, row, i, fault);
    }
  }
  return { values: bytesOf(target) };
}

function integerIn(
  value: unknown,
  least: number,
  most: number,
  row: number,
  index: number,
  fault: Fault,
): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) {
    return value as number;
  }
  const problem = `must be an integer from ${least} to ${most}, got ${describe(value)}`;
  throw fault(row, problem, `[${index}]`);
}

function encodeBinaryVectors(spec: VectorSpec, vectors: readonly unknown[], fault: Fault): Parts {
  const width = spec.dimension / 8;
  const target = new Uint8Array(vectors.length * width);
  for (let row = 0; row < vectors.length; row++) {
    const vector = vectors[row];
    if (vector === null) continue;
    const bytes = typeof vector === "string" ? decodeBase64(vector) : vector;
    if (!Array.isArray(bytes) && !isTypedArray(bytes)) {
      throw fault(row, `must be base64 text or an array of bytes, got ${describe(vector)}`);
    }
    if (bytes.length !== width) {
      const got = `has dimension ${bytes.length * 8} (${bytes.length} bytes)`;
      throw fault(row, `${got}; the field has dimension ${spec.dimension} (${width} bytes)`);
    }
    for (let i = 0; i < width; i++) {
      target[row * width + i] = integerIn(bytes[i], 0, 255, row, i, fault);
    }
  }
  return { values: target };
}

const indexText = /^(?:0|[1-9]\d{0,9})$/;
const maxIndex = 2 ** 32 - 1;

function encodeSparseVectors(vectors: readonly unknown[], fault: Fault): Parts {
  const offsets = new Uint32Array(vectors.length + 1);
  const pairs: [index: number, value: number][][] = [];
  let total = 0;
  for (let row = 0; row < vectors.length; row++) {
    const vector = vectors[row];
    if (vector !== null) {
      const sorted = sparsePairs(vector, row, fault);
      pairs.push(sorted);
      total += sorted.length;
    }
    offsets[row + 1] = total * 8;
  }
  const indices = new Uint32Array(total * 2);
  const floats = new Float32Array(indices.buffer);
  let at = 0;
  for (const [index, value] of pairs.flat()) {
    indices[at] = index;
    floats[at + 1] = value;
    at += 2;
  }
  return { values: bytesOf(indices), offsets: bytesOf(offsets) };
}

function sparsePairs(vector: unknown, row: number, fault: Fault): [number, number][] {
  if (
    typeof vector !== "object" ||
    vector === null ||
    Array.isArray(vector) ||
    ArrayBuffer.isView(vector)
  ) {
    throw fault(row, `must be an object such as {"3": 0.5}, got ${describe(vector)}`);
  }
  const pairs = Object.entries(vector).map(([key, value]): [number, number] => {
    const suffix = `[${JSON.stringify(key)}]`;
    if (!indexText.test(key) || Number(key) > maxIndex) {
      throw fault(row, `is not an index; use integers from 0 to ${maxIndex}`, suffix);
    }
    if (typeof value !== "number" || !Number.isFinite(value)) {
      throw fault(row, `must be a finite number, got ${describe(value)}`, suffix);
    }
    if (!Number.isFinite(Math.fround(value))) {
      throw fault(row, `${value} is out of range for SPARSE_VECTOR`, suffix);
    }
    return [Number(key), value];
  });
  return pairs.sort((a, b) => a[0] - b[0]);
}
