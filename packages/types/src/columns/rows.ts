/**
 * JSON rows into columns and back.
 *
 * @module
 */

import { create, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import { MillraceError } from "../errors.ts";
import {
  type Column,
  type ColumnBatch,
  ColumnBatchSchema,
  type CollectionSchema,
  DataType,
  type FieldSchema,
} from "../gen/millrace/v1/schema_pb.ts";
import { dynamicFieldName, storedFields } from "../schema.ts";
import { encodeBase64 } from "./base64.ts";
import { describe, type Fault, memberPath } from "./faults.ts";
import { encodeValues } from "./encode.ts";
import { checkRowCount, createFillBudget, type FillBudget } from "./limits.ts";
import { formatTimestamp } from "./timestamp.ts";
import { type CellValue, columnAt, type SparseVector } from "./values.ts";

/** A row as JSON has it: field names and values. */
export type JsonRow = JsonObject;

/**
 * A row as it comes in: JSON values, and in process also bigints (INT64, TIMESTAMP), `Uint8Array`
 * (BYTES, BINARY_VECTOR) and typed arrays (vectors). A value that is undefined is as good as absent.
 */
export type InputRow = Readonly<Record<string, unknown>>;

/** Options of {@linkcode rowsToColumns}. */
export interface RowsToColumnsOptions {
  /** How errors call the rows. Default `rows`. */
  path?: string;
}

/**
 * The columns of JSON rows, in the order of {@linkcode storedFields} and without that of an autoId key.
 * A field that a row lacks gets its default, else null if it may be null. The schema is one that
 * `checkSchema` made.
 *
 * Throws `INVALID_ARGUMENT` with a path such as `rows[3].embedding[7]` for the first value that does
 * not fit.
 */
export function rowsToColumns(
  schema: CollectionSchema,
  rows: readonly InputRow[],
  options: RowsToColumnsOptions = {},
): ColumnBatch {
  const { path = "rows" } = options;
  checkRowCount(rows.length, path);
  const unnamed = unnamedValues(schema, rows, path);
  const budget = createFillBudget(path);
  const columns = storedFields(schema)
    .filter((field) => !field.autoId)
    .map((field) => {
      const isDynamic = field.name === dynamicFieldName;
      const values = isDynamic ? unnamed : valuesOf(field, rows, path, budget);
      const prefix = isDynamic ? "" : memberPath(field.name);
      return encodeValues(field, values, faultAt(path, prefix));
    });
  return create(ColumnBatchSchema, { rows: rows.length, columns });
}

/**
 * The rows of a batch as JSON: integers as numbers, beyond ±(2^53 - 1) as strings; timestamps as RFC
 * 3339 in UTC; bytes as base64; NaN and infinities as strings; vectors and arrays as arrays, sparse
 * vectors as objects; null for null. Dynamic fields stand beside the others.
 */
export function columnsToRows(batch: ColumnBatch): JsonRow[] {
  const rows = Array.from({ length: batch.rows }, (): JsonRow => ({}));
  for (const column of batch.columns) {
    if (column.name === dynamicFieldName) spreadDynamic(column, rows);
    else fillColumn(column, rows);
  }
  return rows;
}

function faultAt(path: string, fieldPath: string): Fault {
  return (row, problem, suffix = "") => {
    const field = `${path}[${row}]${fieldPath}${suffix}`;
    return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
  };
}

const nothing: JsonObject = Object.freeze({});

/** Refuses what the schema does not name, or gathers it, one object a row, if it is dynamic. */
function unnamedValues(
  schema: CollectionSchema,
  rows: readonly InputRow[],
  path: string,
): JsonObject[] {
  const fault = faultAt(path, "");
  const known = new Set(schema.fields.filter((field) => !field.autoId).map(({ name }) => name));
  // Not rows.map, which skips holes.
  return Array.from(rows, (row, index) => {
    if (typeof row !== "object" || row === null || Array.isArray(row)) {
      throw fault(index, `must be an object of field names and values, got ${describe(row)}`);
    }
    let unnamed: JsonObject | undefined;
    for (const key of Object.keys(row)) {
      if (known.has(key) || row[key] === undefined) continue;
      checkUnnamed(schema, key, index, fault);
      unnamed ??= {};
      setOwn(unnamed, key, row[key] as JsonValue);
    }
    return unnamed ?? nothing;
  });
}

function checkUnnamed(schema: CollectionSchema, key: string, row: number, fault: Fault): void {
  const suffix = memberPath(key);
  if (schema.fields.some((field) => field.name === key)) {
    throw fault(row, "is filled in by Millrace (autoId); leave it out", suffix);
  }
  if (!schema.enableDynamicField) {
    const names = schema.fields.filter((field) => !field.autoId).map(({ name }) => name);
    const list = names.length <= 8 ? names.join(", ") : `${names.slice(0, 8).join(", ")}, …`;
    throw fault(row, `is not a field of the collection (${list}); leave it out`, suffix);
  }
  if (key === dynamicFieldName) {
    throw fault(row, "is made by Millrace; put dynamic fields into the row itself", suffix);
  }
}

/** One value a row: the row's own, the default, or null. */
function valuesOf(
  field: FieldSchema,
  rows: readonly InputRow[],
  path: string,
  budget: FillBudget,
): unknown[] {
  const { name, nullable, type } = field;
  const fault = faultAt(path, memberPath(name));
  // What every object inherits, such as `constructor`, is not a value of the row.
  const inherited = name in Object.prototype;
  const takesNull = nullable || type === DataType.JSON;
  const fill = fillOf(field);
  let filled = 0;
  const values = rows.map((row, index) => {
    const value = inherited && !Object.hasOwn(row, name) ? undefined : row[name];
    if (value !== undefined && value !== null) return value;
    filled++;
    if (value === undefined) {
      if (fill === undefined) throw fault(index, "is missing; every row must have it");
      return fill;
    }
    if (takesNull) return null;
    const advice = field.defaultValue === undefined ? "" : "; leave it out to get its default";
    throw fault(index, `must not be null: the field is not nullable${advice}`);
  });
  budget.spend(field, filled);
  return values;
}

/** What a row that lacks the field gets; `undefined`: it must not lack it. */
export function fillOf(field: FieldSchema): unknown {
  if (field.defaultValue !== undefined) return JSON.parse(field.defaultValue);
  return field.nullable ? null : undefined;
}

function fillColumn(column: Column, rows: JsonRow[]): void {
  const { name, type } = column;
  const reader = columnAt(column, rows.length);
  const elementType = column.child?.type ?? DataType.UNSPECIFIED;
  const inherited = name in Object.prototype;
  rows.forEach((row, index) => {
    const value = toJson(reader.get(index), type, elementType);
    if (inherited) setOwn(row, name, value);
    else row[name] = value;
  });
}

function spreadDynamic(column: Column, rows: JsonRow[]): void {
  const reader = columnAt(column, rows.length);
  rows.forEach((row, index) => {
    const text = reader.get(index);
    if (typeof text !== "string" || text === "{}") return;
    const unnamed = JSON.parse(text) as JsonObject;
    for (const key of Object.keys(unnamed)) setOwn(row, key, unnamed[key] ?? null);
  });
}

/** Sets a property of the object itself, also where its name is `__proto__`. */
function setOwn(object: JsonObject, key: string, value: JsonValue): void {
  if (key !== "__proto__") {
    object[key] = value;
    return;
  }
  Object.defineProperty(object, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function toJson(value: CellValue, type: DataType, elementType: DataType): JsonValue {
  if (value === null) return null;
  switch (type) {
    case DataType.INT64:
      return int64ToJson(value as bigint);
    case DataType.TIMESTAMP:
      return formatTimestamp(value as bigint);
    case DataType.FLOAT:
    case DataType.DOUBLE:
      return Number.isFinite(value) ? (value as number) : String(value);
    case DataType.JSON:
      return JSON.parse(value as string) as JsonValue;
    case DataType.BYTES:
      return encodeBase64(value as Uint8Array);
    case DataType.ARRAY:
      return (value as CellValue[]).map((element) =>
        toJson(element, elementType, DataType.UNSPECIFIED),
      );
    case DataType.FLOAT_VECTOR:
    case DataType.FLOAT16_VECTOR:
    case DataType.BFLOAT16_VECTOR:
    case DataType.INT8_VECTOR:
    case DataType.BINARY_VECTOR:
      return Array.from(value as Float32Array | Int8Array | Uint8Array);
    case DataType.SPARSE_VECTOR:
      return sparseToJson(value as SparseVector);
    default:
      return value as JsonValue;
  }
}

function int64ToJson(value: bigint): JsonValue {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value.toString();
}

function sparseToJson({ indices, values }: SparseVector): JsonObject {
  const object: JsonObject = {};
  indices.forEach((index, at) => {
    object[index] = values[at] ?? 0;
  });
  return object;
}
