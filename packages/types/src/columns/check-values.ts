/**
 * Checks of the values of columns whose lengths are in order.
 *
 * @module
 */

import { type CollectionSchema, type Column, DataType } from "../gen/millrace/v1/schema_pb.ts";
import { dynamicFieldName } from "../schema.ts";
import { getBit } from "./bits.ts";
import type { Fault } from "./faults.ts";
import type { ValueSpec } from "./encode.ts";
import { fromBfloat16, fromFloat16 } from "./float16.ts";
import { isJsonText, maxJsonDepth } from "./json-text.ts";
import { columnAt } from "./values.ts";
import { bytesOf, viewAs } from "./views.ts";

/** Refuses vectors of floats that hold NaN or an infinity. */
export function checkVectors(spec: ValueSpec, column: Column, fault: Fault): void {
  const { type, dimension } = spec;
  if (type === DataType.FLOAT_VECTOR) {
    const words = viewAs(Uint32Array, column.values);
    const at = findNotFinite(words, 0x7f800000);
    if (at >= 0) {
      const value = viewAs(Float32Array, bytesOf(words))[at];
      throw fault(
        Math.floor(at / dimension),
        `must be a finite number, got ${value}`,
        `[${at % dimension}]`,
      );
    }
  } else if (type === DataType.FLOAT16_VECTOR || type === DataType.BFLOAT16_VECTOR) {
    const isHalf = type === DataType.FLOAT16_VECTOR;
    const words = viewAs(Uint16Array, column.values);
    const at = findNotFinite(words, isHalf ? 0x7c00 : 0x7f80);
    if (at >= 0) {
      const value = (isHalf ? fromFloat16 : fromBfloat16)(words[at] ?? 0);
      throw fault(
        Math.floor(at / dimension),
        `must be a finite number, got ${value}`,
        `[${at % dimension}]`,
      );
    }
  }
}

/** The first float, as bits, whose exponent is all ones, or -1. */
function findNotFinite(words: Uint32Array | Uint16Array, exponent: number): number {
  for (let i = 0; i < words.length; i++) {
    if (((words[i] ?? 0) & exponent) === exponent) return i;
  }
  return -1;
}

/** Refuses rows that are not JSON text. */
export function checkJsonValues(column: Column, offsets: Uint32Array, fault: Fault): void {
  const { validity, values } = column;
  for (let row = 0; row + 1 < offsets.length; row++) {
    if (isJsonText(values, offsets[row] ?? 0, offsets[row + 1] ?? 0)) continue;
    if (validity.length > 0 && !getBit(validity, row)) continue;
    throw fault(row, `is not JSON text nested at most ${maxJsonDepth} deep`);
  }
}

/** Refuses sparse vectors with partial pairs, unsorted indices, NaN or infinities. */
export function checkSparse(column: Column, offsets: Uint32Array, fault: Fault): void {
  const words = viewAs(Uint32Array, column.values);
  for (let row = 0; row + 1 < offsets.length; row++) {
    const start = offsets[row] ?? 0;
    const end = offsets[row + 1] ?? 0;
    if ((end - start) % 8 !== 0) {
      throw fault(row, `is ${end - start} bytes long; pairs of u32 and f32 take 8 each`);
    }
    let last = -1;
    for (let at = start / 4; at < end / 4; at += 2) {
      const index = words[at] ?? 0;
      if (index <= last) {
        throw fault(row, `has index ${index} after ${last}; indices must ascend`);
      }
      if (((words[at + 1] ?? 0) & 0x7f800000) === 0x7f800000) {
        throw fault(row, "must be a finite number", `["${index}"]`);
      }
      last = index;
    }
  }
}

const emptyObject = 0x7d7b;

/** Refuses rows of `$meta` that are not objects, or that name what has a column of its own. */
export function checkDynamicValues(
  schema: CollectionSchema,
  column: Column,
  rows: number,
  fault: Fault,
): void {
  const taken = new Set([dynamicFieldName, ...schema.fields.map(({ name }) => name)]);
  const reader = columnAt(column, rows);
  const { values } = column;
  const offsets = viewAs(Uint32Array, column.offsets);
  for (let row = 0; row < rows; row++) {
    const start = offsets[row] ?? 0;
    const isEmpty =
      (offsets[row + 1] ?? 0) - start === 2 &&
      ((values[start] ?? 0) | ((values[start + 1] ?? 0) << 8)) === emptyObject;
    if (isEmpty) continue;
    const value: unknown = JSON.parse(String(reader.get(row)));
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw fault(row, "must be a JSON object of dynamic fields");
    }
    const clash = Object.keys(value).find((key) => taken.has(key));
    if (clash !== undefined) {
      throw fault(row, `holds ${JSON.stringify(clash)}, which has a column of its own`);
    }
  }
}
