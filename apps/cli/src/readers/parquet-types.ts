/**
 * Types of Parquet columns and the types of fields that they become.
 *
 * @module
 */

import { DataType } from "@millrace/types/gen";
import type { SchemaElement, SchemaTree } from "hyparquet";
import type { InferredField } from "../infer.ts";

/** How the values of a Parquet column are read. */
export type ColumnKind =
  | "bool"
  | "int"
  | "float"
  | "timestamp"
  | "text"
  | "bytes"
  | "json"
  // Lists, maps, structs and what else has no direct way into a column.
  | "nested";

/** A top-level column of a Parquet file. */
export interface ParquetColumn {
  name: string;
  kind: ColumnKind;
  /** The field it becomes in an inferred schema. */
  field: InferredField;
}

/** The top-level columns of a file. */
export function parquetColumns(tree: SchemaTree): ParquetColumn[] {
  return tree.children.map((child) => {
    const { name } = child.element;
    const type = child.children.length > 0 ? nestedType(child) : leafType(child.element);
    return { name, kind: type.kind, field: { name, ...type.field } };
  });
}

interface ColumnType {
  kind: ColumnKind;
  field: Omit<InferredField, "name">;
}

function scalar(kind: ColumnKind, type: DataType): ColumnType {
  return { kind, field: { type } };
}

function leafType(element: SchemaElement): ColumnType {
  if (element.repetition_type === "REPEATED") return listOf(element);
  const annotated = annotatedType(element);
  if (annotated) return annotated;
  switch (element.type) {
    case "BOOLEAN":
      return scalar("bool", DataType.BOOL);
    case "INT32":
      return scalar("int", DataType.INT32);
    case "INT64":
      return scalar("int", DataType.INT64);
    case "INT96":
      return scalar("timestamp", DataType.TIMESTAMP);
    case "FLOAT":
      return scalar("float", DataType.FLOAT);
    case "DOUBLE":
      return scalar("float", DataType.DOUBLE);
    default:
      return scalar("bytes", DataType.BYTES);
  }
}

function annotatedType(element: SchemaElement): ColumnType | undefined {
  const logical = element.logical_type;
  switch (logical?.type) {
    case "STRING":
    case "ENUM":
      return scalar("text", DataType.VARCHAR);
    case "UUID":
      return scalar("nested", DataType.VARCHAR);
    case "JSON":
      return scalar("json", DataType.JSON);
    case "DATE":
    case "TIMESTAMP":
      return scalar("timestamp", DataType.TIMESTAMP);
    case "DECIMAL":
    case "FLOAT16":
      return scalar("float", DataType.DOUBLE);
    case "INTEGER":
      return scalar("int", integerType(logical.bitWidth, logical.isSigned));
    case "VARIANT":
    case "GEOMETRY":
    case "GEOGRAPHY":
      return scalar("nested", DataType.JSON);
    default:
      return convertedType(element);
  }
}

function convertedType(element: SchemaElement): ColumnType | undefined {
  const converted = element.converted_type;
  switch (converted) {
    case "UTF8":
    case "ENUM":
      return scalar("text", DataType.VARCHAR);
    case "JSON":
      return scalar("json", DataType.JSON);
    case "DATE":
    case "TIMESTAMP_MILLIS":
    case "TIMESTAMP_MICROS":
      return scalar("timestamp", DataType.TIMESTAMP);
    case "DECIMAL":
      return scalar("float", DataType.DOUBLE);
    default: {
      const match = /^(U?)INT_(8|16|32|64)$/.exec(converted ?? "");
      return match ? scalar("int", integerType(Number(match[2]), match[1] === "")) : undefined;
    }
  }
}

/** The narrowest type that holds all values; UINT_64 is checked against INT64 value by value. */
function integerType(bits: number, signed: boolean): DataType {
  const needed = signed ? bits : bits + 1;
  if (needed <= 8) return DataType.INT8;
  if (needed <= 16) return DataType.INT16;
  return needed <= 32 ? DataType.INT32 : DataType.INT64;
}

function nestedType(tree: SchemaTree): ColumnType {
  const { element, children } = tree;
  const isList = element.logical_type?.type === "LIST" || element.converted_type === "LIST";
  const repeated = children[0];
  if (!isList || !repeated) return scalar("nested", DataType.JSON);
  const inner = repeated.children[0];
  if (!inner || repeated.children.length > 1 || inner.children.length > 0) {
    return scalar("nested", DataType.JSON);
  }
  return listOf(inner.element);
}

const elementTypes: ReadonlySet<ColumnKind> = new Set<ColumnKind>(["bool", "int", "float", "text"]);

function listOf(element: SchemaElement): ColumnType {
  const { kind, field } = leafType({ ...element, repetition_type: "OPTIONAL" });
  if (!elementTypes.has(kind)) return scalar("nested", DataType.JSON);
  return { kind: "nested", field: { type: DataType.ARRAY, elementType: field.type } };
}

const direct: Readonly<Record<ColumnKind, readonly DataType[]>> = {
  bool: [DataType.BOOL],
  int: [
    DataType.INT8,
    DataType.INT16,
    DataType.INT32,
    DataType.INT64,
    DataType.FLOAT,
    DataType.DOUBLE,
  ],
  float: [DataType.FLOAT, DataType.DOUBLE],
  timestamp: [DataType.TIMESTAMP],
  text: [DataType.VARCHAR, DataType.JSON, DataType.BYTES],
  bytes: [DataType.BYTES, DataType.VARCHAR],
  json: [DataType.JSON, DataType.VARCHAR],
  nested: [],
};

/** Whether values of a kind go into columns of a type without rows in between. */
export function isDirect(kind: ColumnKind, type: DataType): boolean {
  return direct[kind].includes(type);
}
