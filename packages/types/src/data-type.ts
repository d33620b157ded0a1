/**
 * What the types of fields have in common: names, widths and families.
 *
 * @module
 */

import { DataType } from "./gen/millrace/v1/schema_pb.ts";

const names = new Map<number, string>(
  Object.entries(DataType).map(([name, value]) => [value as number, name]),
);

/** The name of a type as users write it, such as `INT64`; `UNKNOWN(99)` for what is not one. */
export function typeName(type: DataType): string {
  return names.get(type) ?? `UNKNOWN(${type})`;
}

/** `true` for a type that this version knows. */
export function isKnownType(type: DataType): boolean {
  return type !== DataType.UNSPECIFIED && names.has(type);
}

/** `true` for the vector types, the sparse one included. */
export function isVectorType(type: DataType): boolean {
  return type >= DataType.FLOAT_VECTOR && type <= DataType.SPARSE_VECTOR;
}

/** `true` for types that an array may hold: scalars but JSON. */
export function isElementType(type: DataType): boolean {
  return isKnownType(type) && type !== DataType.JSON && type < DataType.ARRAY;
}

/** `true` for types whose column has offsets. */
export function hasOffsets(type: DataType): boolean {
  switch (type) {
    case DataType.VARCHAR:
    case DataType.JSON:
    case DataType.BYTES:
    case DataType.ARRAY:
    case DataType.SPARSE_VECTOR:
      return true;
    default:
      return false;
  }
}

/** Bytes per row of a type of fixed width; 0 for BOOL (a bit) and for types with offsets. */
export function fixedWidth(type: DataType, dimension: number): number {
  switch (type) {
    case DataType.INT8:
      return 1;
    case DataType.INT16:
      return 2;
    case DataType.INT32:
    case DataType.FLOAT:
      return 4;
    case DataType.INT64:
    case DataType.DOUBLE:
    case DataType.TIMESTAMP:
      return 8;
    case DataType.FLOAT_VECTOR:
      return 4 * dimension;
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
      return 2 * dimension;
    case DataType.INT8_VECTOR:
      return dimension;
    case DataType.BINARY_VECTOR:
      return dimension / 8;
    default:
      return 0;
  }
}
