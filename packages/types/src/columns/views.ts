/**
 * Typed views of the little-endian bytes of columns. Typed arrays have the byte order of the host,
 * which is little-endian wherever JavaScript engines run today.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { typeName } from "../data-type.ts";
import { MillraceError } from "../errors.ts";
import { type Column, ColumnSchema, DataType } from "../gen/millrace/v1/schema_pb.ts";

interface ViewConstructor<View> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): View;
}

/**
 * The bytes as elements of a typed array: a view where they are aligned, else a copy (columns that
 * came through protobuf lie anywhere in the message). Bytes behind the last whole element are left out.
 */
export function viewAs<View>(type: ViewConstructor<View>, bytes: Uint8Array): View {
  const width = type.BYTES_PER_ELEMENT;
  const length = Math.floor(bytes.byteLength / width);
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return new type(aligned.buffer, aligned.byteOffset, length);
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The offsets of a column that has them: rows + 1 numbers. A view, or a copy where not aligned. */
export function offsetsOf(column: Column): Uint32Array {
  return viewAs(Uint32Array, column.offsets);
}

/** What {@linkcode typedValues} answers with. */
export type TypedValues =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/**
 * The values of a column as a typed array, a view where they are aligned: INT8 .. INT64, TIMESTAMP
 * (BigInt64Array of microseconds), FLOAT, DOUBLE; vectors as their elements one after another, the
 * 16-bit floats as their bits (Uint16Array); BOOL, VARCHAR, JSON, BYTES, BINARY_VECTOR and
 * SPARSE_VECTOR as bytes. Null rows hold zeros. Throws `INVALID_ARGUMENT` for ARRAY, whose values are
 * those of its child.
 */
export function typedValues(column: Column): TypedValues {
  const { type, values } = column;
  switch (type) {
    case DataType.INT8:
    case DataType.INT8_VECTOR:
      return viewAs(Int8Array, values);
    case DataType.INT16:
      return viewAs(Int16Array, values);
    case DataType.INT32:
      return viewAs(Int32Array, values);
    case DataType.INT64:
    case DataType.TIMESTAMP:
      return viewAs(BigInt64Array, values);
    case DataType.FLOAT:
    case DataType.FLOAT_VECTOR:
      return viewAs(Float32Array, values);
    case DataType.DOUBLE:
      return viewAs(Float64Array, values);
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
      return viewAs(Uint16Array, values);
    case DataType.BOOL:
    case DataType.VARCHAR:
    case DataType.JSON:
    case DataType.BYTES:
    case DataType.BINARY_VECTOR:
    case DataType.SPARSE_VECTOR:
      return values;
    default:
      throw new MillraceError(
        "INVALID_ARGUMENT",
        `column ${JSON.stringify(column.name)} of type ${typeName(type)} has no values of its own; read its child`,
      );
  }
}

/** The values of an INT64 or TIMESTAMP column: a view, or a copy where not aligned. */
export function int64Values(column: Column): BigInt64Array {
  if (column.type !== DataType.INT64 && column.type !== DataType.TIMESTAMP) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `column ${JSON.stringify(column.name)} is of type ${typeName(column.type)}, not INT64 or TIMESTAMP`,
    );
  }
  return viewAs(BigInt64Array, column.values);
}

/** An INT64 column without nulls over `values`, which it shares. */
export function int64Column(name: string, values: BigInt64Array): Column {
  return create(ColumnSchema, { name, type: DataType.INT64, values: bytesOf(values) });
}
