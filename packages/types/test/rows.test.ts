import { expect, test } from "vitest";
import { type ColumnBatch, DataType } from "../src/gen.ts";
import { checkSchema, columnAt, columnsToRows, type JsonRow, rowsToColumns } from "../src/mod.ts";
import { everyTypeRow, everyTypeSchema, type FieldInit, schemaWith } from "./every-type.ts";
import { failure } from "./failure.ts";

/** What a value of a field comes back as. */
function through(field: FieldInit, value: unknown): unknown {
  const schema = checkSchema(schemaWith([{ name: "x", ...field }]));
  return columnsToRows(rowsToColumns(schema, [{ id: 1, x: value }]))[0]?.x;
}

/** What a value of a field is refused with, in row 3. */
function refusal(field: FieldInit, value: unknown) {
  const schema = checkSchema(schemaWith([{ name: "x", nullable: true, ...field }]));
  const rows = [{ id: 0 }, { id: 1 }, { id: 2 }, { id: 3, x: value }];
  return failure(() => rowsToColumns(schema, rows));
}

test.each<[type: FieldInit, value: unknown, comesBackAs: unknown]>([
  [{ type: DataType.INT64 }, Number.MAX_SAFE_INTEGER, 9007199254740991],
  [{ type: DataType.INT64 }, Number.MIN_SAFE_INTEGER, -9007199254740991],
  [{ type: DataType.INT64 }, -1, -1],
  [{ type: DataType.INT64 }, -4294967296, -4294967296],
  [{ type: DataType.INT64 }, "9007199254740993", "9007199254740993"],
  [{ type: DataType.INT64 }, -9223372036854775808n, "-9223372036854775808"],
  [{ type: DataType.INT64 }, "12", 12],
  [{ type: DataType.INT8 }, -128, -128],
  [{ type: DataType.INT16 }, 32767n, 32767],
  [{ type: DataType.INT32 }, -2147483648, -2147483648],
  [{ type: DataType.FLOAT }, 0.1, Math.fround(0.1)],
  [{ type: DataType.DOUBLE }, 0.1, 0.1],
  [{ type: DataType.DOUBLE }, "NaN", "NaN"],
  [{ type: DataType.FLOAT }, "-Infinity", "-Infinity"],
  [{ type: DataType.VARCHAR }, "00501", "00501"],
  [{ type: DataType.VARCHAR }, "", ""],
  [{ type: DataType.VARCHAR, maxLength: 4 }, "😀", "😀"],
  [{ type: DataType.VARCHAR }, "\u0000\uFEFF", "\u0000\uFEFF"],
  [{ type: DataType.VARCHAR }, "漢".repeat(100), "漢".repeat(100)],
  [{ type: DataType.JSON }, null, null],
  [{ type: DataType.JSON, nullable: true }, null, null],
  [{ type: DataType.JSON }, "text", "text"],
  [{ type: DataType.JSON }, { a: undefined, b: [1] }, { b: [1] }],
  [{ type: DataType.BYTES }, "_-8", "/+8="],
  [{ type: DataType.BYTES }, new Uint8Array([0, 255]), "AP8="],
  [{ type: DataType.TIMESTAMP }, "2024-02-29T12:00:00.5+01:30", "2024-02-29T10:30:00.500Z"],
  [{ type: DataType.TIMESTAMP }, 1, "1970-01-01T00:00:00.000001Z"],
  [{ type: DataType.TIMESTAMP }, "-1000000", "1969-12-31T23:59:59Z"],
  [{ type: DataType.TIMESTAMP }, 253_402_300_800_000_000n, "253402300800000000"],
  [
    { type: DataType.ARRAY, elementType: DataType.INT64 },
    [1, "9007199254740993"],
    [1, "9007199254740993"],
  ],
  [{ type: DataType.ARRAY, elementType: DataType.TIMESTAMP }, [0], ["1970-01-01T00:00:00Z"]],
  [{ type: DataType.ARRAY, elementType: DataType.BOOL }, [], []],
  [{ type: DataType.ARRAY, elementType: DataType.BYTES }, ["AA=="], ["AA=="]],
  [{ type: DataType.FLOAT_VECTOR, dimension: 2 }, new Float64Array([1, 2]), [1, 2]],
  [{ type: DataType.FLOAT16_VECTOR, dimension: 2 }, [65504, 2 ** -24], [65504, 2 ** -24]],
  [{ type: DataType.BFLOAT16_VECTOR, dimension: 1 }, [Math.PI], [3.140625]],
  [{ type: DataType.BINARY_VECTOR, dimension: 16 }, "Af8=", [1, 255]],
  [{ type: DataType.SPARSE_VECTOR }, { 70000: 1, 5: 2 }, { 5: 2, 70000: 1 }],
  [{ type: DataType.SPARSE_VECTOR }, {}, {}],
])("%o: %o comes back as %o", (field, value, comesBackAs) => {
  expect(through(field, value)).toEqual(comesBackAs);
});

test.each<[type: FieldInit, value: unknown, path: string, message: string]>([
  [{ type: DataType.BOOL }, 1, "", "must be true or false, got 1"],
  [{ type: DataType.INT8 }, 128, "", "must be from -128 to 127 (INT8), got 128"],
  [{ type: DataType.INT16 }, -32769, "", "must be from -32768 to 32767 (INT16), got -32769"],
  [
    { type: DataType.INT32 },
    2 ** 31,
    "",
    "must be from -2147483648 to 2147483647 (INT32), got 2147483648",
  ],
  [{ type: DataType.INT32 }, 10n ** 400n, "", "must be an integer"],
  [{ type: DataType.INT32 }, 1.5, "", "must be an integer, got 1.5"],
  [{ type: DataType.INT32 }, "7", "", 'must be an integer, got "7"'],
  [
    { type: DataType.INT64 },
    2 ** 53,
    "",
    "9007199254740992 is beyond 2^53 - 1 and may have been rounded; send it as a string",
  ],
  [{ type: DataType.INT64 }, 1.5, "", "must be an integer, got 1.5"],
  [
    { type: DataType.INT64 },
    "9223372036854775808",
    "",
    'must be from -9223372036854775808 to 9223372036854775807, got "9223372036854775808"',
  ],
  [{ type: DataType.INT64 }, "00501", "", 'must be an integer, got "00501"'],
  [{ type: DataType.INT64 }, "0x10", "", 'must be an integer, got "0x10"'],
  [{ type: DataType.INT64 }, "", "", 'must be an integer, got ""'],
  [{ type: DataType.FLOAT }, 1e39, "", "1e+39 is out of range for FLOAT; make the field a DOUBLE"],
  [{ type: DataType.DOUBLE }, "1.5", "", 'must be a number, got "1.5"'],
  [{ type: DataType.VARCHAR }, 501, "", "must be a string, got 501"],
  [
    { type: DataType.VARCHAR, maxLength: 3 },
    "😀",
    "",
    "is 4 bytes long in UTF-8; at most 3 are allowed",
  ],
  [
    { type: DataType.VARCHAR },
    "\ud800",
    "",
    "is not valid Unicode: it has half of a surrogate pair",
  ],
  [{ type: DataType.JSON }, { a: [0, Number.NaN] }, ".a[1]", "must be a JSON value, got NaN"],
  [{ type: DataType.JSON }, { "a b": 5n }, '["a b"]', "got a bigint; send it as a string"],
  [{ type: DataType.JSON }, [undefined], "[0]", "must be a JSON value, got undefined"],
  [{ type: DataType.JSON }, { m: new Map([[1, 2]]) }, ".m", "must be a JSON value; send numbers"],
  [{ type: DataType.JSON }, [new Uint8Array(2)], "[0]", "must be a JSON value; send numbers"],
  [{ type: DataType.INT64 }, 10n ** 400n, "", "to 9223372036854775807, got a huge bigint"],
  [
    { type: DataType.JSON },
    new Date(0),
    "",
    "must be a JSON value; send numbers, text, arrays or plain objects",
  ],
  [
    { type: DataType.JSON },
    "x".repeat(65_535),
    "",
    "is 65537 bytes of JSON; at most 65536 are allowed",
  ],
  [{ type: DataType.BYTES }, "not base64!", "", 'must be base64 text, got "not base64!"'],
  [{ type: DataType.BYTES }, [1, 2], "", "must be base64 text, got an array"],
  [
    { type: DataType.TIMESTAMP },
    "yesterday",
    "",
    'must be RFC 3339 text such as 2024-02-29T12:00:00.000001Z, or integer microseconds, got "yesterday"',
  ],
  [{ type: DataType.TIMESTAMP }, "2023-02-29T12:00:00Z", "", "must be RFC 3339 text"],
  [{ type: DataType.TIMESTAMP }, 0.5, "", "or integer microseconds, got 0.5"],
  [{ type: DataType.ARRAY, elementType: DataType.INT8 }, "x", "", 'must be an array, got "x"'],
  [{ type: DataType.ARRAY, elementType: DataType.INT8 }, [1, null], "[1]", "must not be null"],
  [
    { type: DataType.ARRAY, elementType: DataType.INT8 },
    [1, 2, 300],
    "[2]",
    "must be from -128 to 127",
  ],
  [
    { type: DataType.ARRAY, elementType: DataType.INT8, maxCapacity: 2 },
    [1, 2, 3],
    "",
    "has 3 elements; at most 2 are allowed",
  ],
  [
    { type: DataType.ARRAY, elementType: DataType.VARCHAR, maxLength: 2 },
    ["ab", "abc"],
    "[1]",
    "is 3 bytes long in UTF-8; at most 2",
  ],
  [
    { type: DataType.FLOAT_VECTOR, dimension: 2 },
    [1],
    "",
    "has dimension 1; the field has dimension 2",
  ],
  [
    { type: DataType.FLOAT_VECTOR, dimension: 2 },
    "AAAA",
    "",
    'must be an array of 2 numbers, got "AAAA"',
  ],
  [
    { type: DataType.FLOAT_VECTOR, dimension: 2 },
    [1, Number.NaN],
    "[1]",
    "must be a finite number, got NaN",
  ],
  [
    { type: DataType.FLOAT_VECTOR, dimension: 2 },
    [Number.NEGATIVE_INFINITY, 1],
    "[0]",
    "must be a finite number, got -Infinity",
  ],
  [
    { type: DataType.FLOAT_VECTOR, dimension: 2 },
    [1, "2"],
    "[1]",
    'must be a finite number, got "2"',
  ],
  [
    { type: DataType.FLOAT_VECTOR, dimension: 2 },
    [1, 1e39],
    "[1]",
    "1e+39 is out of range for FLOAT_VECTOR",
  ],
  [
    { type: DataType.FLOAT16_VECTOR, dimension: 2 },
    [1, 65_520],
    "[1]",
    "65520 is out of range for FLOAT16_VECTOR",
  ],
  [
    { type: DataType.FLOAT16_VECTOR, dimension: 2 },
    [1, Number.NaN],
    "[1]",
    "must be a finite number, got NaN",
  ],
  [
    { type: DataType.BFLOAT16_VECTOR, dimension: 2 },
    [1e39, 1],
    "[0]",
    "is out of range for BFLOAT16_VECTOR",
  ],
  [
    { type: DataType.INT8_VECTOR, dimension: 2 },
    [1, 128],
    "[1]",
    "must be an integer from -128 to 127, got 128",
  ],
  [
    { type: DataType.INT8_VECTOR, dimension: 2 },
    [0.5, 1],
    "[0]",
    "must be an integer from -128 to 127, got 0.5",
  ],
  [
    { type: DataType.BINARY_VECTOR, dimension: 16 },
    "AA==",
    "",
    "has dimension 8 (1 bytes); the field has dimension 16 (2 bytes)",
  ],
  [
    { type: DataType.BINARY_VECTOR, dimension: 16 },
    [1, 256],
    "[1]",
    "must be an integer from 0 to 255, got 256",
  ],
  [
    { type: DataType.BINARY_VECTOR, dimension: 16 },
    "!",
    "",
    'must be base64 text or an array of bytes, got "!"',
  ],
  [
    { type: DataType.SPARSE_VECTOR },
    [1, 2],
    "",
    'must be an object such as {"3": 0.5}, got an array',
  ],
  [
    { type: DataType.SPARSE_VECTOR },
    { "-1": 1 },
    '["-1"]',
    "is not an index; use integers from 0 to 4294967295",
  ],
  [{ type: DataType.SPARSE_VECTOR }, { 4294967296: 1 }, '["4294967296"]', "is not an index"],
  [
    { type: DataType.SPARSE_VECTOR },
    { 7: Number.NaN },
    '["7"]',
    "must be a finite number, got NaN",
  ],
  [{ type: DataType.SPARSE_VECTOR }, { 7: 1e39 }, '["7"]', "is out of range for SPARSE_VECTOR"],
])("%o: %o is refused", (field, value, path, message) => {
  const refused = refusal(field, value);
  expect(refused.field).toBe(`rows[3].x${path}`);
  expect(refused.message).toContain(message);
});

const flights = checkSchema(
  schemaWith([
    { name: "price", type: DataType.DOUBLE },
    { name: "seats", type: DataType.INT32, defaultValue: "180" },
    { name: "note", type: DataType.VARCHAR, nullable: true },
  ]),
);

test("a missing field gets its default, else null, else is refused", () => {
  expect(columnsToRows(rowsToColumns(flights, [{ id: 1, price: 9.5 }]))).toEqual([
    { id: 1, price: 9.5, seats: 180, note: null },
  ]);
  expect(
    failure(() =>
      rowsToColumns(flights, [
        { id: 1, price: 1 },
        { id: 2, price: undefined },
      ]),
    ),
  ).toEqual({
    field: "rows[1].price",
    message: "rows[1].price is missing; every row must have it",
  });
});

test("null is refused where it is not allowed", () => {
  expect(failure(() => rowsToColumns(flights, [{ id: 1, price: null }])).message).toBe(
    "rows[0].price must not be null: the field is not nullable",
  );
  expect(failure(() => rowsToColumns(flights, [{ id: 1, price: 1, seats: null }])).message).toBe(
    "rows[0].seats must not be null: the field is not nullable; leave it out to get its default",
  );
  expect(failure(() => rowsToColumns(flights, [{ id: null, price: 1 }])).field).toBe("rows[0].id");
});

test("a field that the schema does not name is refused, and the names are told", () => {
  expect(failure(() => rowsToColumns(flights, [{ id: 1, price: 1, prise: 2 }]))).toEqual({
    field: "rows[0].prise",
    message:
      "rows[0].prise is not a field of the collection (id, price, seats, note); leave it out",
  });
  const strange = failure(() =>
    rowsToColumns(flights, [{ id: 1, price: 1, ["\u0000/".repeat(99)]: 2 }]),
  );
  expect(strange.message.length).toBeLessThan(300);
});

test("rows that are not objects and batches without rows are refused", () => {
  for (const row of [null, 5, "text", [1], undefined]) {
    const refused = failure(() => rowsToColumns(flights, [{ id: 1, price: 1 }, row as never]));
    expect(refused.field).toBe("rows[1]");
    expect(refused.message).toContain("must be an object of field names and values");
  }
  expect(failure(() => rowsToColumns(flights, []))).toEqual({
    field: "rows",
    message: "rows has no rows; send at least one",
  });
  expect(failure(() => rowsToColumns(flights, [], { path: "insert.rows" })).field).toBe(
    "insert.rows",
  );
});

test("nulls and defaults cannot ask for more memory than a batch may have", () => {
  const schema = checkSchema(
    schemaWith([{ name: "v", type: DataType.FLOAT_VECTOR, dimension: 32_768, nullable: true }]),
  );
  const rows = Array.from({ length: 3000 }, (_, id) => ({ id }));
  expect(failure(() => rowsToColumns(schema, rows)).message).toContain(
    "for defaults and nulls; send fewer rows",
  );
});

test("the column of an autoId key is left out, and rows must not carry it", () => {
  const schema = checkSchema(schemaWith([{ name: "a", type: DataType.INT8 }]));
  const [key] = schema.fields;
  if (key) key.autoId = true;
  const names = (batch: ColumnBatch) => batch.columns.map(({ name }) => name);
  expect(names(rowsToColumns(schema, [{ a: 1 }]))).toEqual(["a"]);
  expect(failure(() => rowsToColumns(schema, [{ id: 5, a: 1 }]))).toEqual({
    field: "rows[0].id",
    message: "rows[0].id is filled in by Millrace (autoId); leave it out",
  });
});

test("dynamic fields are kept and stand beside the others when read", () => {
  const schema = checkSchema(schemaWith([{ name: "a", type: DataType.INT8 }], true));
  const rows = [
    { id: 1, a: 1, colour: "red", size: { w: [1, 2] } },
    { id: 2, a: 2 },
    { id: 3, a: 3, nothing: null },
  ];
  const batch = rowsToColumns(schema, rows);
  const meta = batch.columns[2];
  expect(meta?.name).toBe("$meta");
  expect(meta && [0, 1].map(columnAt(meta, 3).get)).toEqual([
    '{"colour":"red","size":{"w":[1,2]}}',
    "{}",
  ]);
  expect(columnsToRows(batch)).toEqual(rows);
});

test("dynamic fields that cannot be kept are refused by their own path", () => {
  const schema = checkSchema(schemaWith([], true));
  expect(failure(() => rowsToColumns(schema, [{ id: 1, a: { b: 5n } }])).field).toBe("rows[0].a.b");
  expect(failure(() => rowsToColumns(schema, [{ id: 1, $meta: {} }])).message).toBe(
    "rows[0].$meta is made by Millrace; put dynamic fields into the row itself",
  );
  const large = failure(() => rowsToColumns(schema, [{ id: 1, a: "x".repeat(70_000) }]));
  expect(large.message).toContain("at most 65536 are allowed");
});

test("names of what objects inherit are names like others", () => {
  const names = ["__proto__", "constructor", "toString", "hasOwnProperty"];
  const schema = checkSchema(
    schemaWith(names.map((name) => ({ name, type: DataType.INT32, nullable: true }))),
  );
  const absent = columnsToRows(rowsToColumns(schema, [{ id: 1 }]))[0];
  for (const name of names) expect(absent && Object.hasOwn(absent, name)).toBe(true);
  for (const name of names) expect(Object.entries(absent ?? {})).toContainEqual([name, null]);
  const row = JSON.parse(`{"id":1,"__proto__":1,"constructor":2,"toString":3,"hasOwnProperty":4}`);
  const text = JSON.stringify(columnsToRows(rowsToColumns(schema, [row]))[0]);
  expect(text).toBe(JSON.stringify(row));
});

test("a dynamic field __proto__ is data and changes no prototype", () => {
  const schema = checkSchema(schemaWith([{ name: "j", type: DataType.JSON }], true));
  const text = '{"id":1,"j":{"__proto__":{"polluted":1}},"__proto__":{"polluted":2}}';
  const [row] = columnsToRows(rowsToColumns(schema, [JSON.parse(text)]));
  expect(JSON.stringify(row)).toBe(text);
  expect(Object.getPrototypeOf(row)).toBe(Object.prototype);
  expect(({} as { polluted?: number }).polluted).toBeUndefined();
});

test("JSON that is nested too deeply is refused and does not exhaust the stack", () => {
  const schema = checkSchema(schemaWith([{ name: "j", type: DataType.JSON }]));
  const nested = (depth: number) => JSON.parse("[".repeat(depth) + "]".repeat(depth));
  expect(() => rowsToColumns(schema, [{ id: 1, j: nested(128) }])).not.toThrow();
  const refused = failure(() => rowsToColumns(schema, [{ id: 1, j: nested(30_000) }]));
  expect(refused.message).toContain("is nested deeper than 128");
});

test("rows of every type survive with nulls in every place", () => {
  const schema = checkSchema(everyTypeSchema(true));
  const nulls = Object.fromEntries(schema.fields.map(({ name }) => [name, null]));
  const rows: JsonRow[] = Array.from({ length: 19 }, (_, n) =>
    n % 3 === 1 ? { ...nulls, id: n } : everyTypeRow(n % 8),
  );
  expect(columnsToRows(rowsToColumns(schema, rows))).toEqual(rows);
});
