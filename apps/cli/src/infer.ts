/**
 * Schemas from what a file holds.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { checkName, typeName } from "@millrace/types";
import {
  type CollectionSchema,
  CollectionSchemaSchema,
  DataType,
  type FieldSchema,
  FieldSchemaSchema,
} from "@millrace/types/gen";
import { failure } from "./errors.ts";
import { observeText, observeValue, type Observed } from "./infer-kinds.ts";
import type { SourceRow } from "./readers/rows.ts";

/** How many rows at the beginning of a file its schema is inferred from. */
export const inferenceRows = 10_000;

/** What is inferred of one field, before it gets its place in a schema. */
export type InferredField = Pick<FieldSchema, "name" | "type"> &
  Partial<Pick<FieldSchema, "elementType" | "dimension">>;

/** Options of {@linkcode buildSchema}. */
export interface BuildSchemaOptions {
  /** The file, for messages. */
  name: string;
  /** The field that is the primary key. Default: one is added that Millrace fills in. */
  key?: string | undefined;
}

/** Names of the added primary key, the first that the file does not use. */
const keyNames = ["id", "_id", "row_id", "_row_id"];

/** Shorter lists of numbers are as likely coordinates, which must not be rounded. */
const leastDimension = 8;

/** The longest list that an ARRAY holds. */
const mostElements = 4096;

/** The fields of rows of JSON values (`json`) or of CSV cells (`text`), in order of appearance. */
export function inferFields(rows: readonly SourceRow[], from: "json" | "text"): InferredField[] {
  const observe = from === "json" ? observeValue : observeText;
  const seen = new Map<string, Observed>();
  for (const row of rows) {
    for (const [name, value] of Object.entries(row)) {
      let observed = seen.get(name);
      if (!observed) {
        observed = { kinds: new Set(), elements: new Set(), shortest: Infinity, longest: 0 };
        seen.set(name, observed);
      }
      observe(observed, value);
    }
  }
  return [...seen].map(([name, observed]) => ({ name, ...typeOf(observed, from) }));
}

/**
 * A schema of inferred fields. All but the primary key are nullable. Errors name the file and what to
 * do about it.
 */
export function buildSchema(
  fields: readonly InferredField[],
  options: BuildSchemaOptions,
): CollectionSchema {
  const { name, key } = options;
  for (const field of fields) {
    try {
      checkName(field.name, "field");
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      throw failure(`${name}: ${problem}; rename it in the file`, error);
    }
  }
  if (fields.length === 0) throw failure(`${name} has no fields to infer a schema from`);
  const schemas = fields.map((field) => create(FieldSchemaSchema, { ...field, nullable: true }));
  if (key === undefined) schemas.unshift(addedKey(fields));
  else makeKey(schemas, key, name);
  return create(CollectionSchemaSchema, { fields: schemas });
}

function addedKey(fields: readonly InferredField[]): FieldSchema {
  const used = new Set(fields.map((field) => field.name.toLowerCase()));
  const name = keyNames.find((candidate) => !used.has(candidate));
  if (name === undefined) {
    throw failure(`the file uses all of ${keyNames.join(", ")}; name the primary key with --key`);
  }
  return create(FieldSchemaSchema, { name, type: DataType.INT64, primaryKey: true, autoId: true });
}

function makeKey(fields: readonly FieldSchema[], key: string, name: string): void {
  const field = fields.find((candidate) => candidate.name === key);
  if (!field) throw failure(`${name} has no field "${key}", which --key names`);
  if (field.type !== DataType.INT64 && field.type !== DataType.VARCHAR) {
    const found = typeName(field.type);
    throw failure(
      `${name}: field "${key}" looks like ${found}, but a primary key is INT64 or VARCHAR; create the collection with a schema`,
    );
  }
  field.primaryKey = true;
  field.nullable = false;
}

function typeOf(observed: Observed, from: "json" | "text"): Omit<InferredField, "name"> {
  const { kinds } = observed;
  const only = (...allowed: string[]): boolean =>
    kinds.size > 0 && [...kinds].every((kind) => allowed.includes(kind));
  if (only("bool")) return { type: DataType.BOOL };
  if (only("int")) return { type: DataType.INT64 };
  if (only("int", "double")) return { type: DataType.DOUBLE };
  if (only("timestamp")) return { type: DataType.TIMESTAMP };
  if (only("timestamp", "text") || from === "text") return { type: DataType.VARCHAR };
  if (only("list")) return listTypeOf(observed);
  return { type: DataType.JSON };
}

function listTypeOf(observed: Observed): Omit<InferredField, "name"> {
  const { elements, shortest, longest } = observed;
  const only = (...allowed: string[]): boolean =>
    elements.size > 0 && [...elements].every((kind) => allowed.includes(kind));
  const constant = shortest === longest;
  if (elements.has("double") && only("int", "double") && constant && longest >= leastDimension) {
    return { type: DataType.FLOAT_VECTOR, dimension: longest };
  }
  if (longest > mostElements) return { type: DataType.JSON };
  const array = (elementType: DataType) => ({ type: DataType.ARRAY, elementType });
  if (only("bool")) return array(DataType.BOOL);
  if (only("int")) return array(DataType.INT64);
  if (only("int", "double")) return array(DataType.DOUBLE);
  if (only("timestamp", "text")) return array(DataType.VARCHAR);
  return { type: DataType.JSON };
}
