import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  type CollectionSchema,
  CollectionSchemaSchema,
  DataType,
  FieldSchemaSchema,
} from "../src/gen.ts";
import {
  addFields,
  checkSchema,
  primaryKeyOf,
  sameSchema,
  storedFields,
  typeName,
} from "../src/mod.ts";
import { everyTypeSchema, type FieldInit, schemaWith } from "./every-type.ts";
import { failure } from "./failure.ts";

const schemaOf = (init: MessageInitShape<typeof CollectionSchemaSchema>): CollectionSchema =>
  create(CollectionSchemaSchema, init);
const key: FieldInit = { name: "id", type: DataType.INT64, primaryKey: true };

test("the normal form has ids from 100, limits and a version", () => {
  const given = schemaWith([
    { name: "title", type: DataType.VARCHAR },
    { name: "tags", type: DataType.ARRAY, elementType: DataType.VARCHAR, maxLength: 20 },
  ]);
  const schema = checkSchema(given);
  expect(schema.version).toBe(1);
  expect(schema.fields.map(({ id }) => id)).toEqual([100n, 101n, 102n]);
  expect(schema.fields[1]).toMatchObject({ maxLength: 65_535 });
  expect(schema.fields[2]).toMatchObject({ maxLength: 20, maxCapacity: 4096 });
  expect(given.fields[0]?.id).toBe(0n);
});

test("checking a normal form again changes nothing", () => {
  const schema = checkSchema(everyTypeSchema());
  schema.version = 7;
  expect(checkSchema(schema)).toEqual(schema);
});

test("a field that is added gets an id that no other ever had", () => {
  const schema = checkSchema(schemaWith([{ name: "a", type: DataType.BOOL }]));
  schema.fields.push(...schemaWith([{ name: "b", type: DataType.BOOL }]).fields.slice(1));
  expect(checkSchema(schema).fields.map(({ id }) => id)).toEqual([100n, 101n, 102n]);
});

test("stored fields end with $meta where dynamic fields are enabled", () => {
  const names = (schema: CollectionSchema) => storedFields(schema).map(({ name }) => name);
  expect(names(schemaWith([], false))).toEqual(["id"]);
  expect(names(schemaWith([], true))).toEqual(["id", "$meta"]);
  expect(storedFields(schemaWith([], true))[1]?.type).toBe(DataType.JSON);
});

test("the primary key is found wherever it stands", () => {
  const schema = schemaOf({ fields: [{ name: "a", type: DataType.BOOL }, key] });
  expect(primaryKeyOf(schema).name).toBe("id");
  expect(failure(() => primaryKeyOf(schemaOf({}))).message).toContain("has no primary key");
});

test("schemas are the same whatever their ids, version and descriptions", () => {
  const given = everyTypeSchema();
  const stored = checkSchema(given);
  stored.version = 3;
  stored.description = "flights";
  expect(sameSchema(given, stored)).toBe(true);
  expect(sameSchema(given, everyTypeSchema(true))).toBe(false);
  const swapped = checkSchema(given);
  swapped.fields.reverse();
  expect(sameSchema(given, swapped)).toBe(false);
  expect(sameSchema(schemaWith([], true), schemaWith([], false))).toBe(false);
});

test("types are named as users write them", () => {
  expect(typeName(DataType.FLOAT16_VECTOR)).toBe("FLOAT16_VECTOR");
  expect(typeName(99 as DataType)).toBe("UNKNOWN(99)");
});

test.each<[name: string, schema: CollectionSchema, field: string, message: string]>([
  ["an empty schema", schemaOf({}), "schema.fields", "is empty; name the fields"],
  [
    "too many fields",
    schemaWith(Array.from({ length: 64 }, (_, i) => ({ name: `f${i}`, type: DataType.BOOL }))),
    "schema.fields",
    "has 65 fields; at most 64 are allowed",
  ],
  [
    "no primary key",
    schemaOf({ fields: [{ name: "a", type: DataType.INT64 }] }),
    "schema.fields",
    "has no primary key; set primaryKey on one field of type INT64 or VARCHAR",
  ],
  [
    "two primary keys",
    schemaOf({ fields: [key, { name: "b", type: DataType.BOOL }, { ...key, name: "c" }] }),
    "schema.fields[2].primaryKey",
    '"id" is the primary key already; a schema has exactly one',
  ],
  [
    "a long description",
    schemaOf({ fields: [key], description: "x".repeat(1025) }),
    "schema.description",
    "has 1025 characters; at most 1024 are allowed",
  ],
])("%s is refused", (_, schema, field, message) => {
  const refused = failure(() => checkSchema(schema));
  expect(refused.field).toBe(field);
  expect(refused.message).toContain(message);
});

test.each<[name: string, field: FieldInit, path: string, message: string]>([
  ["no name", { type: DataType.BOOL }, "name", "is empty; give it a name"],
  ["a bad name", { name: "a/b", type: DataType.BOOL }, "name", '"a/b" is not a name'],
  ["a reserved name", { name: "_Partition", type: DataType.BOOL }, "name", "is reserved"],
  ["the name $meta", { name: "$meta", type: DataType.JSON }, "name", "is not a name"],
  [
    "a duplicate",
    { name: "id", type: DataType.BOOL },
    "name",
    '"id" is a duplicate of schema.fields[0]',
  ],
  [
    "another case",
    { name: "ID", type: DataType.BOOL },
    "name",
    "differs only in case from schema.fields[0]",
  ],
  ["no type", { name: "a" }, "type", "is missing; give one such as INT64"],
  ["an unknown type", { name: "a", type: 99 as DataType }, "type", "99 is not known"],
  [
    "a long description",
    { name: "a", type: DataType.BOOL, description: "x".repeat(1025) },
    "description",
    "at most 1024",
  ],
  [
    "a low id",
    { name: "a", type: DataType.BOOL, id: 99n },
    "id",
    "must be 0, or 100 or more; leave it 0",
  ],
  [
    "a vector without dimension",
    { name: "a", type: DataType.FLOAT_VECTOR },
    "dimension",
    "must be from 1 to 32768 for FLOAT_VECTOR, got 0",
  ],
  [
    "a huge dimension",
    { name: "a", type: DataType.INT8_VECTOR, dimension: 32_769 },
    "dimension",
    "must be from 1 to 32768",
  ],
  [
    "a crooked binary dimension",
    { name: "a", type: DataType.BINARY_VECTOR, dimension: 12 },
    "dimension",
    "must be a multiple of 8 for BINARY_VECTOR, got 12",
  ],
  [
    "a huge binary dimension",
    { name: "a", type: DataType.BINARY_VECTOR, dimension: 262_152 },
    "dimension",
    "must be from 1 to 262144",
  ],
  [
    "a sparse dimension",
    { name: "a", type: DataType.SPARSE_VECTOR, dimension: 8 },
    "dimension",
    "does not apply to SPARSE_VECTOR; leave it out",
  ],
  [
    "a scalar dimension",
    { name: "a", type: DataType.INT32, dimension: 8 },
    "dimension",
    "does not apply to INT32",
  ],
  [
    "an array of nothing",
    { name: "a", type: DataType.ARRAY },
    "elementType",
    "must be a scalar type such as INT64 or VARCHAR",
  ],
  [
    "an array of JSON",
    { name: "a", type: DataType.ARRAY, elementType: DataType.JSON },
    "elementType",
    "got JSON",
  ],
  [
    "an array of arrays",
    { name: "a", type: DataType.ARRAY, elementType: DataType.ARRAY },
    "elementType",
    "got ARRAY",
  ],
  [
    "a huge capacity",
    { name: "a", type: DataType.ARRAY, elementType: DataType.BOOL, maxCapacity: 4097 },
    "maxCapacity",
    "must be from 1 to 4096, got 4097",
  ],
  [
    "elements of a scalar",
    { name: "a", type: DataType.BOOL, elementType: DataType.BOOL },
    "elementType",
    "applies to ARRAY only",
  ],
  [
    "a scalar's capacity",
    { name: "a", type: DataType.BOOL, maxCapacity: 1 },
    "maxCapacity",
    "applies to ARRAY only",
  ],
  [
    "a huge length",
    { name: "a", type: DataType.VARCHAR, maxLength: 65_536 },
    "maxLength",
    "must be from 1 to 65535 bytes, got 65536",
  ],
  [
    "a number's length",
    { name: "a", type: DataType.INT8, maxLength: 8 },
    "maxLength",
    "applies to VARCHAR and ARRAY of VARCHAR only",
  ],
  [
    "autoId beside the key",
    { name: "a", type: DataType.INT64, autoId: true },
    "autoId",
    "applies to the primary key only",
  ],
  [
    "a default that is not JSON",
    { name: "a", type: DataType.VARCHAR, defaultValue: "none" },
    "defaultValue",
    'must be JSON text, such as 0, "none" or [1, 2]; got none',
  ],
  [
    "a default of the wrong type",
    { name: "a", type: DataType.INT32, defaultValue: '"7"' },
    "defaultValue",
    'must be an integer, got "7"',
  ],
  [
    "a default out of range",
    { name: "a", type: DataType.INT8, defaultValue: "128" },
    "defaultValue",
    "must be from -128 to 127",
  ],
  [
    "a default of null",
    { name: "a", type: DataType.INT8, defaultValue: "null", nullable: true },
    "defaultValue",
    "must not be null; set nullable instead",
  ],
  [
    "a default that is too long",
    { name: "a", type: DataType.VARCHAR, maxLength: 2, defaultValue: '"abc"' },
    "defaultValue",
    "is 3 bytes long in UTF-8; at most 2",
  ],
  [
    "a default of the wrong dimension",
    { name: "a", type: DataType.FLOAT_VECTOR, dimension: 2, defaultValue: "[1]" },
    "defaultValue",
    "has dimension 1; the field has dimension 2",
  ],
])("a field with %s is refused", (_, field, path, message) => {
  const refused = failure(() => checkSchema(schemaWith([field])));
  expect(refused.field).toBe(`schema.fields[1].${path}`);
  expect(refused.message).toContain(message);
});

test.each<[name: string, field: FieldInit, path: string, message: string]>([
  [
    "of type DOUBLE",
    { ...key, type: DataType.DOUBLE },
    "type",
    "of a primary key must be INT64 or VARCHAR, got DOUBLE",
  ],
  [
    "that is nullable",
    { ...key, nullable: true },
    "nullable",
    "must not be set on the primary key",
  ],
  [
    "of type VARCHAR with autoId",
    { ...key, type: DataType.VARCHAR, autoId: true },
    "autoId",
    "needs a primary key of type INT64, got VARCHAR",
  ],
  [
    "with a default",
    { ...key, defaultValue: "1" },
    "defaultValue",
    "must not be set on the primary key",
  ],
])("a primary key %s is refused", (_, field, path, message) => {
  const refused = failure(() => checkSchema(schemaOf({ fields: [field] })));
  expect(refused.field).toBe(`schema.fields[0].${path}`);
  expect(refused.message).toContain(message);
});

test.each([
  ["Gate", "gate"],
  ["gate", "Gate"],
])("%s and %s are one name, as engines that read tables see it", (first, second) => {
  const schema = schemaWith([
    { name: first, type: DataType.BOOL },
    { name: second, type: DataType.BOOL },
  ]);
  const refused = failure(() => checkSchema(schema));
  expect(refused.field).toBe("schema.fields[2].name");
  expect(refused.message).toContain(`"${second}" differs only in case from schema.fields[1]`);
});

test("duplicate ids are refused", () => {
  const schema = schemaWith([
    { name: "a", type: DataType.BOOL, id: 105n },
    { name: "b", type: DataType.BOOL, id: 105n },
  ]);
  const refused = failure(() => checkSchema(schema, { path: "collection.schema" }));
  expect(refused.field).toBe("collection.schema.fields[2].id");
  expect(refused.message).toContain("105 is a duplicate of collection.schema.fields[1]");
});

test("a partition key is not served yet, and says what to do", () => {
  const schema = schemaWith([{ name: "a", type: DataType.INT64, partitionKey: true }]);
  expect(() => checkSchema(schema)).toThrow(
    expect.objectContaining({
      code: "UNIMPLEMENTED",
      field: "schema.fields[1].partitionKey",
      message: expect.stringContaining("create partitions and name them in inserts"),
    }),
  );
});

test.each<FieldInit>([
  { name: "a", type: DataType.INT64, defaultValue: '"9223372036854775807"' },
  { name: "a", type: DataType.JSON, defaultValue: "null" },
  { name: "a", type: DataType.TIMESTAMP, defaultValue: '"2024-01-01T00:00:00Z"' },
  { name: "a", type: DataType.ARRAY, elementType: DataType.INT8, defaultValue: "[]" },
  { name: "constructor", type: DataType.BOOL },
  { name: "__proto__", type: DataType.BOOL },
])("%j is a field", (field) => {
  expect(checkSchema(schemaWith([field])).fields).toHaveLength(2);
});

test("added fields get ids behind all others, and make the next version; what is there makes none", () => {
  const field = (name: string, more: object = {}) =>
    create(FieldSchemaSchema, { name, type: DataType.VARCHAR, nullable: true, ...more });
  const before = checkSchema(
    create(CollectionSchemaSchema, {
      fields: [{ name: "id", type: DataType.INT64, primaryKey: true }],
    }),
  );
  const after = addFields(before, [field("gate"), field("note", { maxLength: 9 })]);
  expect([before.version, after.version]).toEqual([1, 2]);
  expect(after.fields.map(({ id, name, maxLength }) => [id, name, maxLength])).toEqual([
    [100n, "id", 0],
    [101n, "gate", 65_535],
    [102n, "note", 9],
  ]);
  expect(addFields(after, [field("note", { maxLength: 9, description: "again" })])).toBe(after);
  expect(addFields(after, [field("gate"), field("third")]).version).toBe(3);
  const many = Array.from({ length: 64 }, (_, index) => field(`f${index}`));
  for (const [fields, path] of [
    [[], "addFields"],
    [many, "addFields"],
    [[field("gate", { maxLength: 9 })], "addFields[0].name"],
    [[field("GATE")], "addFields[0].name"],
    [[field("x", { id: 200n })], "addFields[0].id"],
    [[field("x", { nullable: false })], "addFields[0].nullable"],
  ] as const) {
    expect(() => addFields(after, fields)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field: path }),
    );
  }
});
