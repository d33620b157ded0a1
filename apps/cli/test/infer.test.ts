import { checkSchema, typeName } from "@millrace/types";
import { DataType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { buildSchema, inferFields } from "../src/infer.ts";

function typeOf(from: "json" | "text", values: readonly unknown[]): string {
  const [field] = inferFields(
    values.map((v) => ({ v })),
    from,
  );
  if (!field) throw new Error("no field");
  if (field.type === DataType.ARRAY) return `ARRAY ${typeName(field.elementType ?? 0)}`;
  return field.dimension ? `${typeName(field.type)} ${field.dimension}` : typeName(field.type);
}

test.each([
  [["1", "-20", null], "INT64"],
  [["1", "2.5", "1e3"], "DOUBLE"],
  [["00501", "10115"], "VARCHAR"],
  [["+491", "2"], "VARCHAR"],
  [["9223372036854775807"], "INT64"],
  [["9223372036854775808"], "VARCHAR"],
  [["0.1234567890123456789"], "VARCHAR"],
  [["true", "False"], "BOOL"],
  [["true", "1"], "VARCHAR"],
  [["2026-01-02T03:04:05Z", "2026-01-02 03:04:05.5+01:00"], "TIMESTAMP"],
  [["2026-01-02T03:04:05Z", "soon"], "VARCHAR"],
  [["2026-13-02T03:04:05Z"], "VARCHAR"],
  [["2026-01-02"], "VARCHAR"],
  [["NaN", "1"], "VARCHAR"],
  [['{"a":1}'], "VARCHAR"],
  [[null], "VARCHAR"],
])("CSV cells %o are %s", (values, type) => {
  expect(typeOf("text", values)).toBe(type);
});

test.each([
  [[1, 2, null], "INT64"],
  [[1, 2.5], "DOUBLE"],
  [[9223372036854775807n], "INT64"],
  [[2n ** 63n], "DOUBLE"],
  [[true], "BOOL"],
  [["00501"], "VARCHAR"],
  [["1"], "VARCHAR"],
  [["2026-01-02T03:04:05Z"], "TIMESTAMP"],
  [[1, "a"], "JSON"],
  [[{ a: 1 }], "JSON"],
  [[null], "JSON"],
  [[[1, 2], [3]], "ARRAY INT64"],
  [[[13.4, 52.5]], "ARRAY DOUBLE"],
  [[["a"], []], "ARRAY VARCHAR"],
  [[[1, null]], "JSON"],
  [[[[1]]], "JSON"],
  [[[]], "JSON"],
  [[[0.5, 1, 2, 3, 4, 5, 6, 7]], "FLOAT_VECTOR 8"],
  [[[0, 1, 2, 3, 4, 5, 6, 7]], "ARRAY INT64"],
  [[[0.5, 1, 2, 3, 4, 5, 6, 7], [1]], "ARRAY DOUBLE"],
])("JSON values %o are %s", (values, type) => {
  expect(typeOf("json", values)).toBe(type);
});

test("fields that only later rows have are found, and all but the key may be null", () => {
  const fields = inferFields([{ a: 1 }, { b: "x" }, { a: 2, c: true }], "json");
  const schema = checkSchema(buildSchema(fields, { name: "rows" }));
  expect(schema.fields.map(({ name, nullable }) => [name, nullable])).toEqual([
    ["id", false],
    ["a", true],
    ["b", true],
    ["c", true],
  ]);
  expect(schema.fields[0]).toMatchObject({ primaryKey: true, autoId: true, type: DataType.INT64 });
});

test("the added key takes a name that is free", () => {
  const fields = inferFields([{ ID: 1, _id: 2 }], "json");
  expect(buildSchema(fields, { name: "rows" }).fields[0]?.name).toBe("row_id");
});

test("--key makes a field the primary key", () => {
  const fields = inferFields([{ n: 1, code: "x" }], "json");
  const schema = checkSchema(buildSchema(fields, { name: "rows", key: "code" }));
  expect(schema.fields[1]).toMatchObject({ primaryKey: true, autoId: false, nullable: false });
});

test.each([
  [{ "no name": 1 }, undefined, /rows: field "no name" is not a name.*rename it in the file/],
  [{ a: 1 }, "b", /rows has no field "b", which --key names/],
  [{ a: 1.5 }, "a", /field "a" looks like DOUBLE, but a primary key is INT64 or VARCHAR/],
  [{}, undefined, /rows has no fields/],
])("%j with the key %s is refused", (row, key, message) => {
  expect(() => buildSchema(inferFields([row], "json"), { name: "rows", key })).toThrow(message);
});
