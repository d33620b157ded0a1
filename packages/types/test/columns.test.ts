import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  type Column,
  type ColumnBatch,
  ColumnBatchSchema,
  type ColumnSchema,
  DataType,
} from "../src/gen.ts";
import {
  checkColumns,
  checkSchema,
  columnsToRows,
  int64Column,
  rowsToColumns,
} from "../src/mod.ts";
import { everyTypeRow, everyTypeSchema, type FieldInit, schemaWith } from "./every-type.ts";
import { failure } from "./failure.ts";

type ColumnInit = MessageInitShape<typeof ColumnSchema>;

const bytes = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const offsets = (...numbers: number[]): Uint8Array => bytes(Uint32Array.from(numbers));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const ids = (rows: number): Column =>
  int64Column(
    "id",
    BigInt64Array.from({ length: rows }, (_, i) => BigInt(i)),
  );
const batchOf = (rows: number, ...columns: ColumnInit[]): ColumnBatch =>
  create(ColumnBatchSchema, { rows, columns: [ids(rows), ...columns] });

/** What a column `x` of 2 rows is refused with. */
function refusal(field: FieldInit, column: Omit<ColumnInit, "name">) {
  const schema = checkSchema(schemaWith([{ name: "x", ...field }]));
  const batch = batchOf(2, { name: "x", type: field.type ?? 0, ...column } as ColumnInit);
  return failure(() => checkColumns(schema, batch));
}

const varchar = { type: DataType.VARCHAR, maxLength: 4 };
const json = { type: DataType.JSON };
const list = { type: DataType.ARRAY, elementType: DataType.INT8, maxCapacity: 2 };
const vector = { type: DataType.FLOAT_VECTOR, dimension: 2 };
const sparse = { type: DataType.SPARSE_VECTOR };

const pair = (...numbers: [index: number, value: number][]): Uint8Array => {
  const words = new Uint32Array(numbers.length * 2);
  const floats = new Float32Array(words.buffer);
  numbers.forEach(([index, value], i) => {
    words[2 * i] = index;
    floats[2 * i + 1] = value;
  });
  return bytes(words);
};

test.each<
  [name: string, field: FieldInit, column: Omit<ColumnInit, "name">, path: string, message: string]
>([
  [
    "another type",
    { type: DataType.INT32 },
    { type: DataType.INT64, values: new Uint8Array(16) },
    "",
    "must be of type INT32, got INT64",
  ],
  [
    "no type",
    { type: DataType.INT32 },
    { type: 0, values: new Uint8Array(8) },
    "",
    "must be of type INT32, got UNSPECIFIED",
  ],
  [
    "too few values",
    { type: DataType.INT32 },
    { values: new Uint8Array(7) },
    "",
    "has 7 bytes of values; 2 rows of 4 bytes take 8",
  ],
  [
    "too many bits",
    { type: DataType.BOOL },
    { values: new Uint8Array(2) },
    "",
    "has 2 bytes of values; 2 rows take 1 (bits)",
  ],
  [
    "stray offsets",
    { type: DataType.INT8 },
    { values: new Uint8Array(2), offsets: offsets(0, 1, 2) },
    "",
    "has offsets, which columns of type INT8 do not have",
  ],
  [
    "a stray child",
    { type: DataType.INT8 },
    { values: new Uint8Array(2), child: {} },
    "",
    "has a child, which columns of type INT8 do not have",
  ],
  [
    "a short validity",
    { type: DataType.INT8, nullable: true },
    { values: new Uint8Array(2), validity: new Uint8Array(2) },
    "",
    "has a validity bitmap of 2 bytes; 2 rows take 1",
  ],
  [
    "a forbidden null",
    { type: DataType.INT8 },
    { values: new Uint8Array(2), validity: new Uint8Array([1]) },
    "[1]",
    "must not be null: the field is not nullable",
  ],
  [
    "short offsets",
    varchar,
    { offsets: offsets(0, 1), values: utf8("a") },
    "",
    "has 8 bytes of offsets; 2 rows take 12 (u32 × (rows + 1))",
  ],
  [
    "offsets from 1",
    varchar,
    { offsets: offsets(1, 1, 1), values: utf8("a") },
    "",
    "has offsets that begin at 1; they must begin at 0",
  ],
  [
    "offsets that go back",
    varchar,
    { offsets: offsets(0, 2, 1), values: utf8("ab") },
    "[1]",
    "ends before it begins: its offsets go back",
  ],
  [
    "offsets beyond the values",
    varchar,
    { offsets: offsets(0, 2, 4), values: utf8("abc") },
    "",
    "has 3 bytes of values; its offsets end at 4",
  ],
  [
    "values beyond the offsets",
    varchar,
    { offsets: offsets(0, 1, 2), values: utf8("abc") },
    "",
    "has 3 bytes of values; its offsets end at 2",
  ],
  [
    "a long text",
    varchar,
    { offsets: offsets(0, 0, 5), values: utf8("abcde") },
    "[1]",
    "is 5 bytes long; at most 4 are allowed",
  ],
  [
    "broken UTF-8",
    varchar,
    { offsets: offsets(0, 1, 2), values: new Uint8Array([97, 0xff]) },
    "[1]",
    "is not UTF-8; send bytes in a field of type BYTES",
  ],
  [
    "a split character",
    varchar,
    { offsets: offsets(0, 1, 2), values: utf8("é") },
    "[0]",
    "is not UTF-8",
  ],
  [
    "a surrogate in UTF-8",
    varchar,
    { offsets: offsets(0, 3, 3), values: new Uint8Array([0xed, 0xa0, 0x80]) },
    "[0]",
    "is not UTF-8",
  ],
  [
    "a null with bytes",
    { ...varchar, nullable: true },
    { offsets: offsets(0, 1, 2), values: utf8("ab"), validity: new Uint8Array([1]) },
    "[1]",
    "is null, but its offsets give it a length; null rows must be empty",
  ],
  [
    "broken JSON",
    json,
    { offsets: offsets(0, 1, 3), values: utf8("1{]") },
    "[1]",
    "is not JSON text nested at most 128 deep",
  ],
  ["no JSON", json, { offsets: offsets(0, 0, 1), values: utf8("1") }, "[0]", "is not JSON text"],
  [
    "long JSON",
    json,
    { offsets: offsets(0, 65_537, 65_538), values: utf8(`"${"x".repeat(65_535)}"1`) },
    "[0]",
    "is 65537 bytes long; at most 65536 are allowed",
  ],
  [
    "broken UTF-8 in JSON",
    json,
    { offsets: offsets(0, 1, 4), values: new Uint8Array([49, 34, 0xff, 34]) },
    "[1]",
    "is not UTF-8",
  ],
  [
    "no child",
    list,
    { offsets: offsets(0, 0, 0) },
    "",
    "has no child; put the elements into a child column",
  ],
  [
    "values beside a child",
    list,
    { offsets: offsets(0, 0, 0), values: utf8("a"), child: { type: DataType.INT8 } },
    "",
    "has values of its own; put the elements into the child column",
  ],
  [
    "a child of another type",
    list,
    { offsets: offsets(0, 1, 1), child: { type: DataType.INT16, values: new Uint8Array(2) } },
    "",
    "has a child that must be of type INT8, got INT16",
  ],
  [
    "a short child",
    list,
    { offsets: offsets(0, 1, 2), child: { type: DataType.INT8, values: new Uint8Array(1) } },
    "",
    "has a child that has 1 bytes of values; 2 rows of 1 bytes take 2",
  ],
  [
    "null elements",
    list,
    {
      offsets: offsets(0, 0, 2),
      child: { type: DataType.INT8, values: new Uint8Array(2), validity: new Uint8Array([1]) },
    },
    "[1][1]",
    "must not be null",
  ],
  [
    "a long list",
    list,
    { offsets: offsets(0, 3, 3), child: { type: DataType.INT8, values: new Uint8Array(3) } },
    "[0]",
    "is 3 elements long; at most 2 are allowed",
  ],
  [
    "another dimension",
    vector,
    { values: new Uint8Array(24) },
    "",
    "has dimension 3; the field has dimension 2",
  ],
  [
    "half a float",
    vector,
    { values: new Uint8Array(15) },
    "",
    "has 15 bytes of values; 2 rows of 8 bytes take 16",
  ],
  [
    "NaN",
    vector,
    { values: bytes(Float32Array.of(1, 2, 3, Number.NaN)) },
    "[1][1]",
    "must be a finite number, got NaN",
  ],
  [
    "an infinity",
    vector,
    { values: bytes(Float32Array.of(Number.NEGATIVE_INFINITY, 2, 3, 4)) },
    "[0][0]",
    "must be a finite number, got -Infinity",
  ],
  [
    "a half NaN",
    { type: DataType.FLOAT16_VECTOR, dimension: 1 },
    { values: bytes(Uint16Array.of(0x3c00, 0x7e00)) },
    "[1][0]",
    "must be a finite number, got NaN",
  ],
  [
    "a half infinity",
    { type: DataType.BFLOAT16_VECTOR, dimension: 1 },
    { values: bytes(Uint16Array.of(0xff80, 0)) },
    "[0][0]",
    "must be a finite number, got -Infinity",
  ],
  [
    "half a pair",
    sparse,
    { offsets: offsets(0, 4, 8), values: pair([1, 1]) },
    "[0]",
    "is 4 bytes long; pairs of u32 and f32 take 8 each",
  ],
  [
    "indices that go back",
    sparse,
    { offsets: offsets(0, 16, 16), values: pair([5, 1], [5, 2]) },
    "[0]",
    "has index 5 after 5; indices must ascend",
  ],
  [
    "a sparse NaN",
    sparse,
    { offsets: offsets(0, 0, 8), values: pair([5, Number.NaN]) },
    '[1]["5"]',
    "must be a finite number",
  ],
])("a column with %s is refused", (_, field, column, path, message) => {
  const refused = refusal(field, column);
  expect(refused.field).toBe(`columns.x${path}`);
  expect(refused.message).toContain(message);
});

const flights = checkSchema(
  schemaWith([
    { name: "price", type: DataType.DOUBLE },
    { name: "seats", type: DataType.INT32, defaultValue: "180" },
    { name: "note", type: DataType.VARCHAR, nullable: true },
  ]),
);
const prices: ColumnInit = {
  name: "price",
  type: DataType.DOUBLE,
  values: bytes(Float64Array.of(1, 2)),
};

test("columns come out in schema order, the missing ones filled", () => {
  const batch = create(ColumnBatchSchema, { rows: 2, columns: [prices, ids(2)] });
  const checked = checkColumns(flights, batch);
  expect(checked.columns.map(({ name }) => name)).toEqual(["id", "price", "seats", "note"]);
  expect(columnsToRows(checked)).toEqual([
    { id: 0, price: 1, seats: 180, note: null },
    { id: 1, price: 2, seats: 180, note: null },
  ]);
});

test("columns that are in order are not copied", () => {
  const batch = batchOf(2, prices);
  const checked = checkColumns(flights, batch);
  expect(checked.columns[1]).toBe(batch.columns[1]);
});

test("a missing, an unknown and a repeated column are refused", () => {
  expect(failure(() => checkColumns(flights, batchOf(2)))).toEqual({
    field: "columns.price",
    message: "columns.price is missing; send a column for it",
  });
  expect(
    failure(() => checkColumns(flights, batchOf(2, prices, { ...prices, name: "prise" }))),
  ).toEqual({
    field: "columns.prise",
    message: "columns.prise is not a field of the collection; leave it out",
  });
  expect(failure(() => checkColumns(flights, batchOf(2, prices, prices)))).toEqual({
    field: "columns.price",
    message: "columns.price is there twice; send one column for each field",
  });
});

test("batches without rows and with a wrong number of rows are refused", () => {
  expect(failure(() => checkColumns(flights, create(ColumnBatchSchema)))).toEqual({
    field: "columns",
    message: "columns has no rows; send at least one",
  });
  const batch = batchOf(2, prices);
  batch.rows = 3;
  expect(failure(() => checkColumns(flights, batch)).message).toBe(
    "columns.id has 16 bytes of values; 3 rows of 8 bytes take 24",
  );
  batch.rows = 2 ** 32 - 1;
  expect(failure(() => checkColumns(flights, batch)).message).toContain(
    "at most 4194304 are allowed",
  );
});

test("the column of an autoId key is refused", () => {
  const schema = checkSchema(schemaWith([]));
  const [key] = schema.fields;
  if (key) key.autoId = true;
  expect(failure(() => checkColumns(schema, batchOf(2)))).toEqual({
    field: "columns.id",
    message: "columns.id is filled in by Millrace (autoId); leave it out",
  });
});

test("rows that send nothing cannot ask for much memory", () => {
  const text = JSON.stringify("x".repeat(60_000));
  const schema = checkSchema(
    schemaWith([{ name: "a", type: DataType.VARCHAR, defaultValue: text }]),
  );
  expect(failure(() => checkColumns(schema, batchOf(10_000))).message).toContain(
    "for defaults and nulls; send fewer rows",
  );
});

test("dynamic fields go through $meta in column form", () => {
  const schema = checkSchema(schemaWith([], true));
  const meta = (a: string, b: string): ColumnInit => ({
    name: "$meta",
    type: DataType.JSON,
    offsets: offsets(0, a.length, a.length + b.length),
    values: utf8(a + b),
  });
  const rows = (batch: ColumnBatch) => columnsToRows(checkColumns(schema, batch));
  expect(rows(batchOf(2))).toEqual([{ id: 0 }, { id: 1 }]);
  expect(rows(batchOf(2, meta("{}", '{"a":1}')))).toEqual([{ id: 0 }, { id: 1, a: 1 }]);
  expect(failure(() => rows(batchOf(2, meta("{}", "[]"))))).toEqual({
    field: "columns.$meta[1]",
    message: "columns.$meta[1] must be a JSON object of dynamic fields",
  });
  expect(failure(() => rows(batchOf(2, meta("{}", '{"id":1}')))).message).toContain(
    'holds "id", which has a column of its own',
  );
  expect(failure(() => rows(batchOf(2, { ...prices, name: "colour" }))).message).toContain(
    "put dynamic fields as JSON objects into the column $meta",
  );
});

test("what lies under nulls of fixed width becomes zeros, and the sender's bytes stay", () => {
  const fields: FieldInit[] = [
    { name: "f", type: DataType.FLOAT_VECTOR, dimension: 1, nullable: true },
    { name: "b", type: DataType.BOOL, nullable: true },
  ];
  const floats = bytes(Float32Array.of(1, Number.NaN));
  const batch = batchOf(
    2,
    { name: "f", type: DataType.FLOAT_VECTOR, values: floats, validity: new Uint8Array([1]) },
    { name: "b", type: DataType.BOOL, values: new Uint8Array([3]), validity: new Uint8Array([1]) },
  );
  const checked = checkColumns(checkSchema(schemaWith(fields)), batch);
  expect(checked.columns[1]?.values).toEqual(bytes(Float32Array.of(1, 0)));
  expect(checked.columns[2]?.values).toEqual(new Uint8Array([1]));
  expect(new Float32Array(floats.buffer)[1]).toBeNaN();
});

test("a validity without nulls is the same as none", () => {
  const batch = batchOf(2, { ...prices, validity: new Uint8Array([3]) });
  expect(checkColumns(flights, batch).columns[1]?.validity).toHaveLength(0);
});

test("no damage to a buffer crashes the check or what reads its answer", () => {
  const schema = checkSchema(everyTypeSchema(true));
  const nulls = Object.fromEntries(schema.fields.map(({ name }) => [name, null]));
  const good = rowsToColumns(schema, [everyTypeRow(1), { ...nulls, id: 5 }, everyTypeRow(2)]);
  let accepted = 0;
  let refused = 0;
  const attempt = (batch: ColumnBatch): void => {
    try {
      columnsToRows(checkColumns(schema, batch));
      accepted++;
    } catch (error) {
      expect(error).toMatchObject({
        code: "INVALID_ARGUMENT",
        field: expect.stringMatching(/^columns/),
      });
      refused++;
    }
  };
  const parts = ["values", "offsets", "validity"] as const;
  good.columns.forEach((column, index) => {
    for (const part of parts) {
      for (let at = 0; at < column[part].length; at++) {
        for (const flip of [0x01, 0x80, 0xff]) {
          const batch = clone(ColumnBatchSchema, good);
          const target = batch.columns[index]?.[part];
          if (target) target[at] = (target[at] ?? 0) ^ flip;
          attempt(batch);
        }
        const cut = clone(ColumnBatchSchema, good);
        const target = cut.columns[index];
        if (target) target[part] = target[part].subarray(0, at);
        attempt(cut);
      }
    }
  });
  expect(accepted).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(0);
});
