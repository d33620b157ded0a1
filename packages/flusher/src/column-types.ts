/**
 * How each type of field stands in Parquet and in a Delta schema. The one place where it is decided.
 *
 * Vectors are lists of numbers, half precision widened to float; a binary vector is its bytes; a
 * sparse vector is a list of (index, value). JSON is text.
 *
 * @module
 */

import { MillraceError, typeName } from "@millrace/types";
import { DataType, type FieldSchema } from "@millrace/types/gen";
import type { SchemaElement } from "hyparquet-writer/src/index.js";

/** A type of a Delta schema: a name, or a nested type. */
export type DeltaType =
  | string
  | { type: "array"; elementType: DeltaType; containsNull: boolean }
  | { type: "struct"; fields: DeltaField[] };

/** A field of a Delta schema. */
export interface DeltaField {
  name: string;
  type: DeltaType;
  nullable: boolean;
  metadata: Record<string, never>;
}

/** The Parquet schema elements of a field: one for a scalar, a group and its children for a list. */
export function parquetElements(field: FieldSchema): SchemaElement[] {
  const { name, type } = field;
  const repetition = field.nullable ? "OPTIONAL" : "REQUIRED";
  switch (type) {
    case DataType.ARRAY:
      return list(name, repetition, [scalar("element", field.elementType, "OPTIONAL")]);
    case DataType.FLOAT_VECTOR:
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
      return list(name, repetition, [scalar("element", DataType.FLOAT, "REQUIRED")]);
    case DataType.INT8_VECTOR:
      return list(name, repetition, [scalar("element", DataType.INT8, "REQUIRED")]);
    case DataType.SPARSE_VECTOR:
      return list(name, repetition, [
        { name: "element", repetition_type: "REQUIRED", num_children: 2 },
        scalar("index", DataType.INT64, "REQUIRED"),
        scalar("value", DataType.FLOAT, "REQUIRED"),
      ]);
    default:
      return [scalar(name, type, repetition)];
  }
}

/** The Delta schema field of a field. */
export function deltaField(field: FieldSchema): DeltaField {
  return { name: field.name, type: deltaType(field), nullable: field.nullable, metadata: {} };
}

function deltaType(field: FieldSchema): DeltaType {
  switch (field.type) {
    case DataType.ARRAY:
      return {
        type: "array",
        elementType: deltaScalar(field.elementType),
        containsNull: true,
      };
    case DataType.FLOAT_VECTOR:
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
      return { type: "array", elementType: "float", containsNull: false };
    case DataType.INT8_VECTOR:
      return { type: "array", elementType: "byte", containsNull: false };
    case DataType.SPARSE_VECTOR: {
      const fields: DeltaField[] = [
        { name: "index", type: "long", nullable: false, metadata: {} },
        { name: "value", type: "float", nullable: false, metadata: {} },
      ];
      return { type: "array", elementType: { type: "struct", fields }, containsNull: false };
    }
    default:
      return deltaScalar(field.type);
  }
}

function deltaScalar(type: DataType): string {
  switch (type) {
    case DataType.BOOL:
      return "boolean";
    case DataType.INT8:
      return "byte";
    case DataType.INT16:
      return "short";
    case DataType.INT32:
      return "integer";
    case DataType.INT64:
      return "long";
    case DataType.FLOAT:
      return "float";
    case DataType.DOUBLE:
      return "double";
    case DataType.VARCHAR:
    case DataType.JSON:
      return "string";
    case DataType.BYTES:
    case DataType.BINARY_VECTOR:
      return "binary";
    case DataType.TIMESTAMP:
      return "timestamp";
    default:
      throw unknownType(type);
  }
}

type Repetition = "OPTIONAL" | "REQUIRED";

function list(name: string, repetition: Repetition, element: SchemaElement[]): SchemaElement[] {
  return [
    {
      name,
      repetition_type: repetition,
      num_children: 1,
      converted_type: "LIST",
      logical_type: { type: "LIST" },
    },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    ...element,
  ];
}

function scalar(name: string, type: DataType, repetition: Repetition): SchemaElement {
  const base = { name, repetition_type: repetition };
  switch (type) {
    case DataType.BOOL:
      return { ...base, type: "BOOLEAN" };
    // Without a logical type: the writer encodes its width in a way that strict readers refuse.
    case DataType.INT8:
      return { ...base, type: "INT32", converted_type: "INT_8" };
    case DataType.INT16:
      return { ...base, type: "INT32", converted_type: "INT_16" };
    case DataType.INT32:
      return { ...base, type: "INT32" };
    case DataType.INT64:
      return { ...base, type: "INT64" };
    case DataType.FLOAT:
      return { ...base, type: "FLOAT" };
    case DataType.DOUBLE:
      return { ...base, type: "DOUBLE" };
    case DataType.VARCHAR:
    case DataType.JSON:
      return {
        ...base,
        type: "BYTE_ARRAY",
        converted_type: "UTF8",
        logical_type: { type: "STRING" },
      };
    case DataType.BYTES:
    case DataType.BINARY_VECTOR:
      return { ...base, type: "BYTE_ARRAY" };
    case DataType.TIMESTAMP:
      return {
        ...base,
        type: "INT64",
        converted_type: "TIMESTAMP_MICROS",
        logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MICROS" },
      };
    default:
      throw unknownType(type);
  }
}

function unknownType(type: DataType): MillraceError {
  return new MillraceError(
    "UNIMPLEMENTED",
    `the type ${typeName(type)} has no form in a table; run a newer version of Millrace`,
  );
}
