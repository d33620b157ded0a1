/** A schema with a field of every type, and rows for it in their normal form. */

import { create } from "@bufbuild/protobuf";
import type { JsonRow } from "../src/mod.ts";
import {
  type CollectionSchema,
  CollectionSchemaSchema,
  DataType,
  type FieldSchema,
} from "../src/gen.ts";

/** A field of a schema; what is left out has its default. */
export type FieldInit = Partial<Omit<FieldSchema, "$typeName" | "$unknown">>;

/** A schema of the fields given, behind an INT64 primary key `id`. */
export function schemaWith(fields: FieldInit[], enableDynamicField = false): CollectionSchema {
  return create(CollectionSchemaSchema, {
    fields: [{ name: "id", type: DataType.INT64, primaryKey: true }, ...fields],
    enableDynamicField,
  });
}

/** Fields of every type, named after it. */
export const everyField: FieldInit[] = [
  { name: "bool", type: DataType.BOOL },
  { name: "int8", type: DataType.INT8 },
  { name: "int16", type: DataType.INT16 },
  { name: "int32", type: DataType.INT32 },
  { name: "int64", type: DataType.INT64 },
  { name: "float", type: DataType.FLOAT },
  { name: "double", type: DataType.DOUBLE },
  { name: "varchar", type: DataType.VARCHAR },
  { name: "json", type: DataType.JSON },
  { name: "bytes", type: DataType.BYTES },
  { name: "timestamp", type: DataType.TIMESTAMP },
  { name: "array", type: DataType.ARRAY, elementType: DataType.VARCHAR },
  { name: "float_vector", type: DataType.FLOAT_VECTOR, dimension: 3 },
  { name: "float16_vector", type: DataType.FLOAT16_VECTOR, dimension: 2 },
  { name: "bfloat16_vector", type: DataType.BFLOAT16_VECTOR, dimension: 2 },
  { name: "int8_vector", type: DataType.INT8_VECTOR, dimension: 3 },
  { name: "binary_vector", type: DataType.BINARY_VECTOR, dimension: 16 },
  { name: "sparse_vector", type: DataType.SPARSE_VECTOR },
];

/** A schema with a field of every type, all nullable if asked for. */
export function everyTypeSchema(nullable = false): CollectionSchema {
  return schemaWith(
    everyField.map((field) => ({ ...field, nullable })),
    true,
  );
}

/** Row `n` of {@linkcode everyTypeSchema}, in the form that columnsToRows gives. */
export function everyTypeRow(n: number): JsonRow {
  return {
    id: n,
    bool: n % 2 === 0,
    int8: 10 - n,
    int16: n * 100,
    int32: 7 - 100_000 * n,
    int64: "9223372036854775807",
    float: n + 0.5,
    double: n / 10,
    varchar: `00${n} é 漢 😀`,
    json: { nested: [n, null, { deep: "x" }] },
    bytes: "AAEC/w==",
    timestamp: "2024-02-29T12:34:56.000001Z",
    array: Array.from({ length: n }, (_, i) => `tag ${i}`),
    float_vector: [n, -0.25, 1024.5],
    float16_vector: [n, -0.5],
    bfloat16_vector: [n, 0.25],
    int8_vector: [-128, n, 127],
    binary_vector: [n, 255],
    sparse_vector: { 3: n, 4294967295: -0.5 },
    unnamed: { colour: "red" },
    "another one": n,
  };
}
