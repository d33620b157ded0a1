/**
 * Schemas as users write them: JSON files.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { checkSchema } from "@millrace/types";
import {
  type CollectionSchema,
  CollectionSchemaSchema,
  DataType,
  type FieldSchema,
} from "@millrace/types/gen";
import { failure, systemErrorOf, systemReason } from "./errors.ts";

/**
 * Reads a schema: the JSON form of `CollectionSchema`, where types may be written as `int64`, `INT64`
 * or `DATA_TYPE_INT64`, and a default value as any JSON value. Errors name the file and the field.
 */
export async function readSchemaFile(path: string): Promise<CollectionSchema> {
  return readParsed(path, parseSchema);
}

/** Reads fields to add, from a file as of a schema: `{"fields": [...]}`. The server checks them. */
export async function readFieldsFile(path: string): Promise<FieldSchema[]> {
  return readParsed(path, (text) => parse(text).fields);
}

async function readParsed<T>(path: string, read: (text: string) => T): Promise<T> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const system = systemErrorOf(error);
    throw failure(`cannot read ${path}: ${system ? systemReason(system) : error}`, error);
  }
  try {
    return read(text);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw failure(`${path}: ${problem}`, error);
  }
}

/** Parses and checks the text of a schema file. */
export function parseSchema(text: string): CollectionSchema {
  const schema = parse(text);
  checkSchema(schema);
  return schema;
}

function parse(text: string): CollectionSchema {
  const json = JSON.parse(text) as JsonValue;
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw failure('a schema is an object such as {"fields": [...]}');
  }
  const fields = Array.isArray(json.fields) ? json.fields.map(normalField) : json.fields;
  return fromJson(CollectionSchemaSchema, { ...json, ...(fields ? { fields } : {}) });
}

function normalField(field: JsonValue, index: number): JsonValue {
  if (typeof field !== "object" || field === null || Array.isArray(field)) return field;
  const path = `fields[${index}]`;
  return Object.fromEntries(
    Object.entries(field).map(([key, value]) => {
      if (/^(type|elementType|element_type)$/.test(key)) return [key, normalType(value, path)];
      if (/^(defaultValue|default_value)$/.test(key)) return [key, normalDefault(field, value)];
      return [key, value];
    }),
  );
}

function normalType(value: JsonValue, path: string): JsonValue {
  if (typeof value !== "string") return value;
  const name = value.toUpperCase().replace(/^DATA_TYPE_/, "");
  if (name in DataType && name !== "UNSPECIFIED") return `DATA_TYPE_${name}`;
  const known = Object.keys(DataType).filter((key) => /^[A-Z]/.test(key) && key !== "UNSPECIFIED");
  throw failure(`${path}.type "${value}" is not known; use one of ${known.join(", ")}`);
}

/** The message holds JSON text; a file may hold that text or the value itself. */
function normalDefault(field: Record<string, JsonValue>, value: JsonValue): JsonValue {
  if (typeof value !== "string") return JSON.stringify(value);
  const isText = /^(DATA_TYPE_)?(VARCHAR|TIMESTAMP|BYTES)$/i.test(String(field.type));
  return isText && !/^".*"$/s.test(value) ? JSON.stringify(value) : value;
}
