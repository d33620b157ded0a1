import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type ColumnBatch, ColumnBatchSchema, DataType } from "../src/gen.ts";
import {
  batchBytes,
  checkColumns,
  checkSchema,
  columnAt,
  columnsToRows,
  concatBatches,
  int64Column,
  int64Values,
  type JsonRow,
  offsetsOf,
  rowBytes,
  rowsToColumns,
  sliceRows,
  takeRows,
  typedValues,
} from "../src/mod.ts";
import { everyTypeRow, everyTypeSchema, schemaWith } from "./every-type.ts";
import { failure } from "./failure.ts";

const schema = checkSchema(everyTypeSchema(true));
const safe = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER };
const finite = { noNaN: true, noDefaultInfinity: true };
const integers = (bits: number) =>
  fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 });
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const float = fc.float(finite);
// JSON text has no -0.
const json = fc
  .jsonValue({ noUnicodeString: false })
  .map((value) => JSON.parse(JSON.stringify(value)));
const vectorOf = (value: fc.Arbitrary<number>, dimension: number) =>
  fc.array(value, { minLength: dimension, maxLength: dimension });
const int64 = fc
  .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  .map((value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value.toString()));

/** Values of every type in the form that columnsToRows gives. */
const valuesByField: Record<string, fc.Arbitrary<unknown>> = {
  bool: fc.boolean(),
  int8: integers(8),
  int16: integers(16),
  int32: integers(32),
  int64: fc.oneof(fc.integer(safe), int64),
  float,
  double: fc.double(finite),
  varchar: text,
  json: json.filter((value) => value !== null),
  bytes: fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes).toString("base64")),
  timestamp: fc
    .date({ min: new Date(0), max: new Date("2100-01-01"), noInvalidDate: true })
    .map((date) => date.toISOString().replace(".000Z", "Z")),
  array: fc.array(text, { maxLength: 4 }),
  float_vector: vectorOf(float, 3),
  float16_vector: vectorOf(fc.integer({ min: -2048, max: 2048 }), 2),
  bfloat16_vector: vectorOf(fc.integer({ min: -256, max: 256 }), 2),
  int8_vector: vectorOf(integers(8), 3),
  binary_vector: vectorOf(fc.nat(255), 2),
  sparse_vector: fc.dictionary(fc.nat(2 ** 31 - 1).map(String), float, { maxKeys: 4 }),
};

const row: fc.Arbitrary<JsonRow> = fc
  .record({
    id: fc.integer(safe),
    ...Object.fromEntries(
      Object.entries(valuesByField).map(([name, value]) => [name, fc.option(value, { freq: 4 })]),
    ),
  })
  .chain((fixed) =>
    fc.dictionary(text, json, { maxKeys: 2 }).map((dynamic) => {
      const clashes = Object.keys(dynamic).some((key) => key in fixed || key === "$meta");
      return (clashes ? fixed : { ...dynamic, ...fixed }) as JsonRow;
    }),
  );
const rowsOf = fc.array(row, { minLength: 1, maxLength: 20 });

/** As it would arrive: its buffers anywhere in a message, at an odd address. */
function received(batch: ColumnBatch, shift: number): ColumnBatch {
  const bytes = toBinary(ColumnBatchSchema, batch);
  const message = new Uint8Array(bytes.length + shift);
  message.set(bytes, shift);
  return fromBinary(ColumnBatchSchema, message.subarray(shift));
}

test("rows come back from columns as they went in", () => {
  fc.assert(
    fc.property(rowsOf, (rows) => {
      expect(columnsToRows(rowsToColumns(schema, rows))).toEqual(rows);
    }),
  );
});

test("columns made from rows pass the check unchanged, wherever they lie in a message", () => {
  fc.assert(
    fc.property(rowsOf, fc.nat(7), (rows, shift) => {
      const batch = rowsToColumns(schema, rows);
      const checked = checkColumns(schema, received(batch, shift));
      expect(columnsToRows(checked)).toEqual(rows);
      expect(toBinary(ColumnBatchSchema, checked)).toEqual(toBinary(ColumnBatchSchema, batch));
    }),
  );
});

test("taken rows are the rows at the indices", () => {
  fc.assert(
    fc.property(rowsOf, fc.array(fc.nat(), { maxLength: 30 }), fc.nat(7), (rows, picks, shift) => {
      const indices = Uint32Array.from(picks, (pick) => pick % rows.length);
      const taken = takeRows(received(rowsToColumns(schema, rows), shift), indices);
      expect(taken.rows).toBe(indices.length);
      expect(columnsToRows(taken)).toEqual(Array.from(indices, (index) => rows[index]));
    }),
  );
});

test("a slice is the rows from start to end, in the same form as if made from them", () => {
  fc.assert(
    fc.property(rowsOf, fc.nat(20), fc.nat(20), fc.nat(7), (rows, start, end, shift) => {
      const part = sliceRows(received(rowsToColumns(schema, rows), shift), start, end);
      const expected = rows.slice(start, Math.max(start, end));
      expect(columnsToRows(part)).toEqual(expected);
      if (expected.length === 0) return;
      const made = rowsToColumns(schema, expected);
      expect(toBinary(ColumnBatchSchema, part)).toEqual(toBinary(ColumnBatchSchema, made));
    }),
  );
});

test("slices put together again are the whole", () => {
  fc.assert(
    fc.property(rowsOf, fc.array(fc.nat(20), { maxLength: 4 }), fc.nat(7), (rows, cuts, shift) => {
      const whole = rowsToColumns(schema, rows);
      const source = received(whole, shift);
      const edges = [0, ...cuts.map((cut) => cut % rows.length), rows.length].sort((a, b) => a - b);
      const parts = edges.slice(1).map((end, i) => sliceRows(source, edges[i] ?? 0, end));
      const joined = concatBatches(parts);
      expect(toBinary(ColumnBatchSchema, joined)).toEqual(toBinary(ColumnBatchSchema, whole));
    }),
  );
});

test("the size of a batch is at least its encoding, and close to it", () => {
  fc.assert(
    fc.property(rowsOf, (rows) => {
      const batch = rowsToColumns(schema, rows);
      const encoded = toBinary(ColumnBatchSchema, batch).length;
      expect(batchBytes(batch)).toBeGreaterThanOrEqual(encoded);
      expect(batchBytes(batch)).toBeLessThan(encoded + batch.columns.length * 128);
    }),
  );
});

test("row sizes count values and offsets of the row", () => {
  const small = checkSchema(
    schemaWith([
      { name: "ok", type: DataType.BOOL },
      { name: "text", type: DataType.VARCHAR, nullable: true },
      { name: "tags", type: DataType.ARRAY, elementType: DataType.VARCHAR },
      { name: "v", type: DataType.FLOAT_VECTOR, dimension: 4 },
    ]),
  );
  const batch = rowsToColumns(small, [
    { id: 1, ok: true, text: "abc", tags: ["a", "bc"], v: [1, 2, 3, 4] },
    { id: 2, ok: true, text: null, tags: [], v: [1, 2, 3, 4] },
  ]);
  const fixed = 8 + 1 + 16;
  expect(Array.from(rowBytes(batch))).toEqual([fixed + 7 + 4 + 5 + 6, fixed + 4 + 4]);
});

test("batches of other columns are not put together", () => {
  const a = create(ColumnBatchSchema, {
    rows: 1,
    columns: [int64Column("a", BigInt64Array.of(1n))],
  });
  const b = create(ColumnBatchSchema, {
    rows: 1,
    columns: [int64Column("b", BigInt64Array.of(1n))],
  });
  expect(failure(() => concatBatches([a, b])).message).toContain("(a INT64) and (b INT64)");
  expect(concatBatches([]).rows).toBe(0);
  expect(concatBatches([a])).toBe(a);
});

test("typed values are views where the bytes are aligned, copies where they are not", () => {
  const values = BigInt64Array.of(1n, -(2n ** 63n), 2n ** 63n - 1n);
  const column = int64Column("id", values);
  expect(int64Values(column).buffer).toBe(values.buffer);
  const shifted = new Uint8Array(25);
  shifted.set(column.values, 1);
  column.values = shifted.subarray(1);
  expect(int64Values(column)).toEqual(values);
  expect(failure(() => int64Values({ ...column, type: DataType.DOUBLE })).message).toContain(
    'column "id" is of type DOUBLE, not INT64 or TIMESTAMP',
  );
});

test("typed values have the array that fits the type", () => {
  const batch = rowsToColumns(schema, [everyTypeRow(1), everyTypeRow(2)]);
  const kinds = Object.fromEntries(
    batch.columns
      .filter(({ type }) => type !== DataType.ARRAY)
      .map((column) => [column.name, typedValues(column).constructor.name]),
  );
  expect(kinds).toEqual({
    id: "BigInt64Array",
    bool: "Uint8Array",
    int8: "Int8Array",
    int16: "Int16Array",
    int32: "Int32Array",
    int64: "BigInt64Array",
    float: "Float32Array",
    double: "Float64Array",
    varchar: "Uint8Array",
    json: "Uint8Array",
    bytes: "Uint8Array",
    timestamp: "BigInt64Array",
    float_vector: "Float32Array",
    float16_vector: "Uint16Array",
    bfloat16_vector: "Uint16Array",
    int8_vector: "Int8Array",
    binary_vector: "Uint8Array",
    sparse_vector: "Uint8Array",
    $meta: "Uint8Array",
  });
  const array = batch.columns.find(({ type }) => type === DataType.ARRAY);
  expect(array && offsetsOf(array)).toEqual(Uint32Array.of(0, 1, 3));
  expect(failure(() => array && typedValues(array)).message).toContain("read its child");
});

test("a reader gives values in their own types", () => {
  const batch = rowsToColumns(schema, [everyTypeRow(2), { id: 3 }]);
  const read = (name: string, at = 0) => {
    const column = batch.columns.find((candidate) => candidate.name === name);
    return column && columnAt(column, 2).get(at);
  };
  expect(read("int64")).toBe(9223372036854775807n);
  expect(read("timestamp")).toBe(1_709_210_096_000_001n);
  expect(read("varchar")).toBe("002 é 漢 😀");
  expect(read("json")).toBe('{"nested":[2,null,{"deep":"x"}]}');
  expect(read("bytes")).toEqual(new Uint8Array([0, 1, 2, 255]));
  expect(read("array")).toEqual(["tag 0", "tag 1"]);
  expect(read("float16_vector")).toEqual(Float32Array.of(2, -0.5));
  expect(read("int8_vector")).toEqual(Int8Array.of(-128, 2, 127));
  expect(read("sparse_vector")).toEqual({
    indices: Uint32Array.of(3, 4294967295),
    values: Float32Array.of(2, -0.5),
  });
  expect(read("varchar", 1)).toBeNull();
});
