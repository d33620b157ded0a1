/**
 * Schemas of collections: what is allowed, and what follows from them.
 *
 * @module
 */

import { clone, create, equals } from "@bufbuild/protobuf";
import { encodeValues } from "./columns/encode.ts";
import type { Fault } from "./columns/faults.ts";
import { isElementType, isKnownType, isVectorType, typeName } from "./data-type.ts";
import { MillraceError } from "./errors.ts";
import {
  type CollectionSchema,
  CollectionSchemaSchema,
  DataType,
  type FieldSchema,
  FieldSchemaSchema,
} from "./gen/millrace/v1/schema_pb.ts";
import { checkName } from "./names.ts";

/** The JSON field that keeps what the schema does not name, where dynamic fields are enabled. */
export const dynamicFieldName = "$meta";

/** The ids of a schema's fields begin here. */
export const firstFieldId = 100n;

const maxFields = 64;
const maxDescription = 1024;
const maxVarchar = 65_535;
const maxCapacity = 4096;
const maxDimension = 32_768;
const maxBinaryDimension = 262_144;

// Tables are laid out in folders `_partition=<name>`, which readers show as a column.
const reservedNames: ReadonlySet<string> = new Set(["_partition"]);

/** Options of {@linkcode checkSchema}. */
export interface CheckSchemaOptions {
  /** How errors call the schema. Default `schema`. */
  path?: string;
}

/**
 * Refuses a schema that cannot be served, and answers with its normal form: field ids from 100, limits
 * filled in, version 1 unless it has one. The argument is left as it is.
 *
 * Throws `INVALID_ARGUMENT` with the path of the field, and `UNIMPLEMENTED` for a partition key.
 */
export function checkSchema(
  schema: CollectionSchema,
  options: CheckSchemaOptions = {},
): CollectionSchema {
  const { path = "schema" } = options;
  const { fields } = schema;
  if (fields.length === 0) {
    throw invalid(`${path}.fields`, "is empty; name the fields, the primary key among them");
  }
  if (fields.length > maxFields) {
    throw invalid(
      `${path}.fields`,
      `has ${fields.length} fields; at most ${maxFields} are allowed`,
    );
  }
  checkDescription(schema.description, path);
  fields.forEach((field, index) => {
    checkField(field, `${path}.fields[${index}]`);
  });
  checkUnique(fields, path);
  checkPrimaryKey(fields, path);
  const normal = clone(CollectionSchemaSchema, schema);
  normal.version = schema.version || 1;
  normal.fields = normalFields(fields);
  return normal;
}

/**
 * A schema with nullable fields added, of the next version; the schema as it is if it has all of them
 * already. Throws `INVALID_ARGUMENT` with the path of a field that cannot be added, which begins with
 * `addFields`.
 */
export function addFields(
  schema: CollectionSchema,
  fields: readonly FieldSchema[],
): CollectionSchema {
  if (fields.length === 0) throw invalid("addFields", "is empty; name the fields to add");
  const added: FieldSchema[] = [];
  for (const [index, field] of fields.entries()) {
    const path = `addFields[${index}]`;
    const known = schema.fields.find(({ name }) => name === field.name);
    if (known && equals(FieldSchemaSchema, plainField(known), plainField(field))) continue;
    if (known) throw invalid(`${path}.name`, `"${field.name}" exists and is not the same`);
    checkField(field, path);
    const alike = [...schema.fields, ...added].find(
      ({ name }) => name.toLowerCase() === field.name.toLowerCase(),
    );
    if (alike) {
      throw invalid(`${path}.name`, `"${field.name}" is too much like "${alike.name}"`);
    }
    if (field.id !== 0n) throw invalid(`${path}.id`, "must be left 0");
    if (field.primaryKey) throw invalid(`${path}.primaryKey`, "cannot be added");
    if (!field.nullable) {
      throw invalid(`${path}.nullable`, "must be set: rows that are there have no value for it");
    }
    added.push(field);
  }
  if (added.length === 0) return schema;
  const all = [...schema.fields, ...added];
  if (all.length > maxFields) {
    throw invalid("addFields", `makes ${all.length} fields; at most ${maxFields} are allowed`);
  }
  const next = clone(CollectionSchemaSchema, schema);
  next.version = schema.version + 1;
  next.fields = normalFields(all);
  return next;
}

/** The primary key of a schema. Throws `INVALID_ARGUMENT` if it has none. */
export function primaryKeyOf(schema: CollectionSchema): FieldSchema {
  const field = schema.fields.find((candidate) => candidate.primaryKey);
  if (!field) throw noPrimaryKey("schema");
  return field;
}

/**
 * The fields that a collection's messages and tables hold, in order: those of the schema, then
 * `$meta` (JSON, `{}` by default) where dynamic fields are enabled.
 */
export function storedFields(schema: CollectionSchema): FieldSchema[] {
  return schema.enableDynamicField ? [...schema.fields, dynamicField] : schema.fields.slice();
}

/**
 * `true` if two schemas ask for the same: the same fields in the same order. Field ids, version and
 * descriptions do not count, nor does whether a limit is written out or left at its default.
 */
export function sameSchema(a: CollectionSchema, b: CollectionSchema): boolean {
  return equals(CollectionSchemaSchema, comparable(a), comparable(b));
}

// Its id lies below those of named fields, so that it stays the same when fields are added.
const dynamicField: FieldSchema = create(FieldSchemaSchema, {
  id: 1n,
  name: dynamicFieldName,
  type: DataType.JSON,
  defaultValue: "{}",
});

function invalid(field: string, problem: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
}

function noPrimaryKey(path: string): MillraceError {
  return new MillraceError(
    "INVALID_ARGUMENT",
    `${path} has no primary key; set primaryKey on one field of type INT64 or VARCHAR`,
    { field: `${path}.fields` },
  );
}

function checkDescription(description: string, path: string): void {
  if (description.length > maxDescription) {
    throw invalid(
      `${path}.description`,
      `has ${description.length} characters; at most ${maxDescription} are allowed`,
    );
  }
}

function checkField(field: FieldSchema, path: string): void {
  checkName(field.name, `${path}.name`);
  if (reservedNames.has(field.name.toLowerCase())) {
    throw invalid(`${path}.name`, `"${field.name}" is reserved; choose another name`);
  }
  if (!isKnownType(field.type)) {
    const got = field.type === DataType.UNSPECIFIED ? "is missing" : `${field.type} is not known`;
    throw invalid(`${path}.type`, `${got}; give one such as INT64, VARCHAR or FLOAT_VECTOR`);
  }
  checkDescription(field.description, path);
  if (field.partitionKey) {
    throw new MillraceError(
      "UNIMPLEMENTED",
      `${path}.partitionKey is not served yet; create partitions and name them in inserts`,
      { field: `${path}.partitionKey` },
    );
  }
  if (field.id !== 0n && field.id < firstFieldId) {
    throw invalid(`${path}.id`, `must be 0, or ${firstFieldId} or more; leave it 0`);
  }
  checkDimension(field, path);
  checkArray(field, path);
  checkMaxLength(field, path);
  checkKeyFlags(field, path);
  checkDefault(field, path);
}

function checkDimension(field: FieldSchema, path: string): void {
  const { type, dimension } = field;
  const where = `${path}.dimension`;
  if (!isVectorType(type) || type === DataType.SPARSE_VECTOR) {
    if (dimension !== 0) throw invalid(where, `does not apply to ${typeName(type)}; leave it out`);
    return;
  }
  const most = type === DataType.BINARY_VECTOR ? maxBinaryDimension : maxDimension;
  if (dimension < 1 || dimension > most) {
    throw invalid(where, `must be from 1 to ${most} for ${typeName(type)}, got ${dimension}`);
  }
  if (type === DataType.BINARY_VECTOR && dimension % 8 !== 0) {
    throw invalid(where, `must be a multiple of 8 for BINARY_VECTOR, got ${dimension}`);
  }
}

function checkArray(field: FieldSchema, path: string): void {
  const { type, elementType, maxCapacity: capacity } = field;
  if (type !== DataType.ARRAY) {
    const stray = elementType !== 0 ? "elementType" : capacity !== 0 ? "maxCapacity" : undefined;
    if (stray) throw invalid(`${path}.${stray}`, "applies to ARRAY only; leave it out");
    return;
  }
  if (!isElementType(elementType)) {
    throw invalid(
      `${path}.elementType`,
      `must be a scalar type such as INT64 or VARCHAR, got ${typeName(elementType)}`,
    );
  }
  if (capacity > maxCapacity) {
    throw invalid(`${path}.maxCapacity`, `must be from 1 to ${maxCapacity}, got ${capacity}`);
  }
}

function checkMaxLength(field: FieldSchema, path: string): void {
  const { maxLength } = field;
  const where = `${path}.maxLength`;
  if (!holdsVarchar(field)) {
    if (maxLength !== 0) {
      throw invalid(where, "applies to VARCHAR and ARRAY of VARCHAR only; leave it out");
    }
    return;
  }
  if (maxLength > maxVarchar) {
    throw invalid(where, `must be from 1 to ${maxVarchar} bytes, got ${maxLength}`);
  }
}

function checkKeyFlags(field: FieldSchema, path: string): void {
  const { type, primaryKey, autoId, nullable } = field;
  if (primaryKey && type !== DataType.INT64 && type !== DataType.VARCHAR) {
    throw invalid(
      `${path}.type`,
      `of a primary key must be INT64 or VARCHAR, got ${typeName(type)}`,
    );
  }
  if (primaryKey && nullable) {
    throw invalid(`${path}.nullable`, "must not be set on the primary key");
  }
  if (autoId && !primaryKey) {
    throw invalid(`${path}.autoId`, "applies to the primary key only; leave it out");
  }
  if (autoId && type !== DataType.INT64) {
    throw invalid(`${path}.autoId`, `needs a primary key of type INT64, got ${typeName(type)}`);
  }
}

function checkDefault(field: FieldSchema, path: string): void {
  if (field.defaultValue === undefined) return;
  const where = `${path}.defaultValue`;
  if (field.primaryKey) throw invalid(where, "must not be set on the primary key");
  let value: unknown;
  try {
    value = JSON.parse(field.defaultValue);
  } catch (cause) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `${where} must be JSON text, such as 0, "none" or [1, 2]; got ${field.defaultValue.slice(0, 40)}`,
      { field: where, cause },
    );
  }
  if (value === null && field.type !== DataType.JSON) {
    throw invalid(where, "must not be null; set nullable instead");
  }
  const fault: Fault = (_row, problem, suffix = "") => invalid(`${where}${suffix}`, problem);
  encodeValues({ ...normalField(field), nullable: false }, [value], fault);
}

function checkUnique(fields: readonly FieldSchema[], path: string): void {
  // Tables are read by engines that do not tell cases apart.
  const seen = new Map<string, number>();
  const ids = new Map<bigint, number>();
  fields.forEach(({ id, name }, index) => {
    const first = seen.get(name.toLowerCase());
    if (first !== undefined) {
      const how = fields[first]?.name === name ? "is a duplicate of" : "differs only in case from";
      throw invalid(
        `${path}.fields[${index}].name`,
        `"${name}" ${how} ${path}.fields[${first}]; names must differ`,
      );
    }
    seen.set(name.toLowerCase(), index);
    const sameId = id === 0n ? undefined : ids.get(id);
    if (sameId !== undefined) {
      throw invalid(
        `${path}.fields[${index}].id`,
        `${id} is a duplicate of ${path}.fields[${sameId}]; leave it 0`,
      );
    }
    ids.set(id, index);
  });
}

function checkPrimaryKey(fields: readonly FieldSchema[], path: string): void {
  const first = fields.findIndex((field) => field.primaryKey);
  if (first < 0) throw noPrimaryKey(path);
  const second = fields.findIndex((field, index) => field.primaryKey && index > first);
  if (second >= 0) {
    throw invalid(
      `${path}.fields[${second}].primaryKey`,
      `is set, but "${fields[first]?.name}" is the primary key already; a schema has exactly one`,
    );
  }
}

function holdsVarchar({ type, elementType }: FieldSchema): boolean {
  return type === DataType.VARCHAR || (type === DataType.ARRAY && elementType === DataType.VARCHAR);
}

function normalField(field: FieldSchema): FieldSchema {
  const normal = clone(FieldSchemaSchema, field);
  if (holdsVarchar(field)) normal.maxLength = field.maxLength || maxVarchar;
  if (field.type === DataType.ARRAY) normal.maxCapacity = field.maxCapacity || maxCapacity;
  return normal;
}

function normalFields(fields: readonly FieldSchema[]): FieldSchema[] {
  // New fields go on behind the highest id, so that an id never changes its meaning.
  let next = fields.reduce((most, { id }) => (id >= most ? id + 1n : most), firstFieldId);
  return fields.map((field) => {
    const normal = normalField(field);
    if (normal.id === 0n) normal.id = next++;
    return normal;
  });
}

function comparable(schema: CollectionSchema): CollectionSchema {
  const copy = clone(CollectionSchemaSchema, schema);
  copy.version = 0;
  copy.description = "";
  copy.fields = copy.fields.map(plainField);
  return copy;
}

function plainField(field: FieldSchema): FieldSchema {
  const normal = normalField(field);
  normal.id = 0n;
  normal.description = "";
  return normal;
}
