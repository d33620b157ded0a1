/**
 * Columns that came from outside, checked.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { fixedWidth, hasOffsets, typeName } from "../data-type.ts";
import { MillraceError } from "../errors.ts";
import {
  type CollectionSchema,
  type Column,
  type ColumnBatch,
  ColumnBatchSchema,
  ColumnSchema,
  DataType,
  type FieldSchema,
} from "../gen/millrace/v1/schema_pb.ts";
import { dynamicFieldName, storedFields } from "../schema.ts";
import { allSet, bitmapBytes, firstUnset, getBit } from "./bits.ts";
import { checkDynamicValues, checkJsonValues, checkSparse, checkVectors } from "./check-values.ts";
import { type Fault, memberPath } from "./faults.ts";
import { elementSpec, encodeValues, rowOfElement, type ValueSpec } from "./encode.ts";
import { checkRowCount, createFillBudget, maxJsonBytes } from "./limits.ts";
import { fillOf } from "./rows.ts";
import { takeColumn } from "./select.ts";
import { checkUtf8 } from "./utf8.ts";
import { offsetsOf } from "./views.ts";

/** Options of {@linkcode checkColumns}. */
export interface CheckColumnsOptions {
  /** How errors call the batch. Default `columns`. */
  path?: string;
}

/**
 * A batch from outside in normal form: checked down to every value, its columns in the order of
 * {@linkcode storedFields} without that of an autoId key, those that are missing filled with the
 * default or null. Columns that are in order are taken as they are, without a copy. The schema is one
 * that `checkSchema` made.
 *
 * Throws `INVALID_ARGUMENT` with a path such as `columns.price[3]` for the first thing that is wrong.
 */
export function checkColumns(
  schema: CollectionSchema,
  batch: ColumnBatch,
  options: CheckColumnsOptions = {},
): ColumnBatch {
  const { path = "columns" } = options;
  const { rows } = batch;
  checkRowCount(rows, path);
  const byName = columnsByName(schema, batch, path);
  const budget = createFillBudget(path);
  const columns = storedFields(schema)
    .filter((field) => !field.autoId)
    .map((field) => {
      const fault = faultAt(path, field.name);
      const column = byName.get(field.name);
      if (!column) {
        budget.spend(field, rows);
        return filledColumn(field, rows, fault);
      }
      const checked = checkColumn(field, column, rows, fault);
      if (field.name === dynamicFieldName) checkDynamicValues(schema, checked, rows, fault);
      return checked;
    });
  return create(ColumnBatchSchema, { rows, columns });
}

function faultAt(path: string, name: string): Fault {
  return (row, problem, suffix = "") => {
    const field = `${path}${memberPath(name)}${row === undefined ? "" : `[${row}]`}${suffix}`;
    return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
  };
}

function columnsByName(
  schema: CollectionSchema,
  batch: ColumnBatch,
  path: string,
): Map<string, Column> {
  const fields = new Map(storedFields(schema).map((field) => [field.name, field]));
  const byName = new Map<string, Column>();
  for (const column of batch.columns) {
    const fault = faultAt(path, column.name);
    const field = fields.get(column.name);
    if (!field) {
      const advice = schema.enableDynamicField
        ? `put dynamic fields as JSON objects into the column ${dynamicFieldName}`
        : "leave it out";
      throw fault(undefined, `is not a field of the collection; ${advice}`);
    }
    if (field.autoId) throw fault(undefined, "is filled in by Millrace (autoId); leave it out");
    if (byName.has(column.name))
      throw fault(undefined, "is there twice; send one column for each field");
    byName.set(column.name, column);
  }
  return byName;
}

function filledColumn(field: FieldSchema, rows: number, fault: Fault): Column {
  const fill = fillOf(field);
  if (fill === undefined) throw fault(undefined, "is missing; send a column for it");
  const one = encodeValues(field, [fill], fault);
  return takeColumn(one, 1, new Uint32Array(rows));
}

function checkColumn(spec: ValueSpec, column: Column, rows: number, fault: Fault): Column {
  if (column.type !== spec.type) {
    throw fault(undefined, `must be of type ${typeName(spec.type)}, got ${typeName(column.type)}`);
  }
  checkParts(column, fault);
  const hasNulls = checkValidity(spec, column, rows, fault);
  if (hasOffsets(spec.type)) return checkLists(spec, column, rows, hasNulls, fault);
  const width = checkFixedLength(spec, column, rows, fault);
  const clean = hasNulls ? withZeroedNulls(column, rows, width) : withoutValidity(column);
  checkVectors(spec, clean, fault);
  return clean;
}

/** Refuses buffers that a column of its type does not have. */
function checkParts(column: Column, fault: Fault): void {
  const { type } = column;
  if (!hasOffsets(type) && column.offsets.length > 0) {
    throw fault(undefined, `has offsets, which columns of type ${typeName(type)} do not have`);
  }
  if ((type === DataType.ARRAY) !== (column.child !== undefined)) {
    throw fault(
      undefined,
      type === DataType.ARRAY
        ? "has no child; put the elements into a child column"
        : `has a child, which columns of type ${typeName(type)} do not have`,
    );
  }
  if (type === DataType.ARRAY && column.values.length > 0) {
    throw fault(undefined, "has values of its own; put the elements into the child column");
  }
}

/** Refuses nulls where there must be none; answers whether there are any. */
function checkValidity(spec: ValueSpec, column: Column, rows: number, fault: Fault): boolean {
  const { validity } = column;
  if (validity.length === 0) return false;
  if (validity.length !== bitmapBytes(rows)) {
    throw fault(
      undefined,
      `has a validity bitmap of ${validity.length} bytes; ${rows} rows take ${bitmapBytes(rows)}`,
    );
  }
  if (allSet(validity, rows)) return false;
  if (!spec.nullable) {
    const row = firstUnset(validity, rows);
    throw fault(row, "must not be null: the field is not nullable");
  }
  return true;
}

function checkFixedLength(spec: ValueSpec, column: Column, rows: number, fault: Fault): number {
  const { length } = column.values;
  if (spec.type === DataType.BOOL) {
    if (length !== bitmapBytes(rows)) {
      throw fault(
        undefined,
        `has ${length} bytes of values; ${rows} rows take ${bitmapBytes(rows)} (bits)`,
      );
    }
    return 0;
  }
  const width = fixedWidth(spec.type, spec.dimension);
  if (length === rows * width) return width;
  const dimension = (length / rows) * (spec.dimension / width);
  if (spec.dimension > 0 && Number.isInteger(dimension)) {
    throw fault(undefined, `has dimension ${dimension}; the field has dimension ${spec.dimension}`);
  }
  throw fault(
    undefined,
    `has ${length} bytes of values; ${rows} rows of ${width} bytes take ${rows * width}`,
  );
}

function withoutValidity(column: Column): Column {
  if (column.validity.length === 0) return column;
  return create(ColumnSchema, { ...partsOf(column), validity: new Uint8Array(0) });
}

function partsOf(column: Column): Partial<Omit<Column, "$typeName">> {
  const { name, type, values, offsets, validity, child } = column;
  return { name, type, values, offsets, validity, ...(child && { child }) };
}

/** What lies under a null is undefined in Arrow; here it is zeros. */
function withZeroedNulls(column: Column, rows: number, width: number): Column {
  let { values } = column;
  const isBits = width === 0;
  for (let row = 0; row < rows; row++) {
    if (getBit(column.validity, row)) continue;
    const isZero = isBits ? !getBit(values, row) : isZeroed(values, row * width, width);
    if (isZero) continue;
    if (values === column.values) values = values.slice();
    if (isBits) values[row >> 3] = (values[row >> 3] ?? 0) & ~(1 << (row & 7));
    else values.fill(0, row * width, (row + 1) * width);
  }
  return values === column.values ? column : create(ColumnSchema, { ...partsOf(column), values });
}

function isZeroed(values: Uint8Array, start: number, length: number): boolean {
  for (let i = start; i < start + length; i++) if (values[i] !== 0) return false;
  return true;
}

function checkLists(
  spec: ValueSpec,
  column: Column,
  rows: number,
  hasNulls: boolean,
  fault: Fault,
): Column {
  if (column.offsets.length !== (rows + 1) * 4) {
    const wanted = (rows + 1) * 4;
    throw fault(
      undefined,
      `has ${column.offsets.length} bytes of offsets; ${rows} rows take ${wanted} (u32 × (rows + 1))`,
    );
  }
  const offsets = offsetsOf(column);
  const most = spec.type === DataType.VARCHAR ? spec.maxLength : lengthLimit(spec);
  const total = checkOffsets(offsets, most, spec.type, fault);
  if (hasNulls) checkEmptyNulls(column, offsets, rows, fault);
  const clean = hasNulls ? column : withoutValidity(column);
  if (spec.type === DataType.ARRAY && column.child) {
    const child = checkElements(spec, column.child, offsets, total, fault);
    return child === column.child ? clean : create(ColumnSchema, { ...partsOf(clean), child });
  }
  if (total !== column.values.length) {
    throw fault(
      undefined,
      `has ${column.values.length} bytes of values; its offsets end at ${total}`,
    );
  }
  if (spec.type === DataType.VARCHAR || spec.type === DataType.JSON) {
    checkUtf8(column.values, offsets, fault);
  }
  if (spec.type === DataType.JSON) checkJsonValues(clean, offsets, fault);
  if (spec.type === DataType.SPARSE_VECTOR) checkSparse(clean, offsets, fault);
  return clean;
}

function lengthLimit(spec: ValueSpec): number {
  switch (spec.type) {
    case DataType.JSON:
      return maxJsonBytes;
    case DataType.ARRAY:
      return spec.maxCapacity;
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/** Offsets must begin at 0 and never go back, and no value be too long; answers with the last. */
function checkOffsets(offsets: Uint32Array, most: number, type: DataType, fault: Fault): number {
  let last = offsets[0] ?? 0;
  if (last !== 0) throw fault(undefined, `has offsets that begin at ${last}; they must begin at 0`);
  for (let i = 1; i < offsets.length; i++) {
    const next = offsets[i] ?? 0;
    if (next < last) throw fault(i - 1, `ends before it begins: its offsets go back`);
    if (next - last > most) {
      const unit = type === DataType.ARRAY ? "elements" : "bytes";
      throw fault(i - 1, `is ${next - last} ${unit} long; at most ${most} are allowed`);
    }
    last = next;
  }
  return last;
}

function checkEmptyNulls(column: Column, offsets: Uint32Array, rows: number, fault: Fault): void {
  for (let row = 0; row < rows; row++) {
    if (getBit(column.validity, row) || offsets[row] === offsets[row + 1]) continue;
    throw fault(row, "is null, but its offsets give it a length; null rows must be empty");
  }
}

function checkElements(
  spec: ValueSpec,
  child: Column,
  offsets: Uint32Array,
  total: number,
  fault: Fault,
): Column {
  // Problems of an element are told at its place in the row: columns.tags[3][1].
  const childFault: Fault = (element, problem, suffix = "") => {
    if (element === undefined) return fault(element, `has a child that ${problem}`, suffix);
    const row = rowOfElement(offsets, element);
    return fault(row, problem, `[${element - (offsets[row] ?? 0)}]${suffix}`);
  };
  const named = child.name === "" ? child : create(ColumnSchema, { ...partsOf(child), name: "" });
  return checkColumn(elementSpec(spec), named, total, childFault);
}
