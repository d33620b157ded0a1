import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { DuckDBInstance } from "@duckdb/node-api";
import { checkSchema, rowsToColumns } from "@millrace/types";
import {
  type CollectionSchema,
  CollectionSchemaSchema,
  ColumnBatchSchema,
  DataType,
} from "@millrace/types/gen";
import { createVirtualClock } from "@millrace/types/testing";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { expect, test } from "vitest";
import { createParquetEncoder, type Piece } from "../src/mod.ts";

const everyType = checkSchema(
  create(CollectionSchemaSchema, {
    enableDynamicField: true,
    fields: [
      { name: "id", type: DataType.INT64, primaryKey: true },
      { name: "flag", type: DataType.BOOL, nullable: true },
      { name: "tiny", type: DataType.INT8, nullable: true },
      { name: "small", type: DataType.INT16, nullable: true },
      { name: "medium", type: DataType.INT32, nullable: true },
      { name: "large", type: DataType.INT64, nullable: true },
      { name: "single", type: DataType.FLOAT, nullable: true },
      { name: "real", type: DataType.DOUBLE, nullable: true },
      { name: "text", type: DataType.VARCHAR, nullable: true },
      { name: "doc", type: DataType.JSON, nullable: true },
      { name: "raw", type: DataType.BYTES, nullable: true },
      { name: "at", type: DataType.TIMESTAMP, nullable: true },
      { name: "list", type: DataType.ARRAY, elementType: DataType.VARCHAR, nullable: true },
      { name: "numbers", type: DataType.ARRAY, elementType: DataType.INT64 },
      { name: "vector", type: DataType.FLOAT_VECTOR, dimension: 3, nullable: true },
      { name: "half", type: DataType.FLOAT16_VECTOR, dimension: 2 },
      { name: "brain", type: DataType.BFLOAT16_VECTOR, dimension: 2 },
      { name: "bytes", type: DataType.INT8_VECTOR, dimension: 2 },
      { name: "bits", type: DataType.BINARY_VECTOR, dimension: 16 },
      { name: "sparse", type: DataType.SPARSE_VECTOR, nullable: true },
    ],
  }),
);

const required = {
  numbers: [],
  half: [0, 0],
  brain: [0, 0],
  bytes: [0, 0],
  bits: [0, 0],
};

const full = {
  ...required,
  id: "9223372036854775807",
  flag: true,
  tiny: -128,
  small: 32767,
  medium: -2147483648,
  large: "-9223372036854775808",
  single: 1.5,
  real: 0.1,
  text: "grüße 🚀",
  doc: { a: [1, null] },
  raw: "AAH/",
  at: "2024-02-29T12:34:56.789012Z",
  list: ["a", "", "ü"],
  numbers: [1, "-2"],
  vector: [1, -2, 0.5],
  half: [0.5, -65504],
  brain: [1, -3],
  bytes: [-128, 127],
  bits: [1, 255],
  sparse: { "7": 0.25, "4294967295": -1 },
  extra: "kept",
};

const empty = { ...required, id: 1 };

test("every type is read back by hyparquet as it was written", async () => {
  const file = await encode(everyType, [[full], [empty, { ...empty, id: 2, text: "", list: [] }]]);
  const rows = await parquetReadObjects({ file: file.slice().buffer, utf8: false });
  expect(rows).toHaveLength(3);
  expect(rows[0]).toEqual({
    id: 9223372036854775807n,
    flag: true,
    tiny: -128,
    small: 32767,
    medium: -2147483648,
    large: -9223372036854775808n,
    single: 1.5,
    real: 0.1,
    text: "grüße 🚀",
    doc: '{"a":[1,null]}',
    raw: new Uint8Array([0, 1, 255]),
    at: new Date("2024-02-29T12:34:56.789Z"),
    list: ["a", "", "ü"],
    numbers: [1n, -2n],
    vector: [1, -2, 0.5],
    half: [0.5, -65504],
    brain: [1, -3],
    bytes: [-128, 127],
    bits: new Uint8Array([1, 255]),
    sparse: [
      { index: 7n, value: 0.25 },
      { index: 4294967295n, value: -1 },
    ],
    $meta: '{"extra":"kept"}',
  });
  const absent = rows[1];
  for (const name of [
    "flag",
    "tiny",
    "large",
    "text",
    "doc",
    "raw",
    "at",
    "list",
    "vector",
    "sparse",
  ]) {
    expect(absent?.[name] ?? null, name).toBeNull();
  }
  expect(rows[2]).toMatchObject({ id: 2n, text: "", list: [], $meta: "{}" });
});

test("DuckDB reads every type, with the types that a Delta schema names", async () => {
  const file = await encode(everyType, [[full], [empty]]);
  const described = await duck(file, "DESCRIBE SELECT * FROM file");
  expect(Object.fromEntries(described.map((row) => [row.column_name, row.column_type]))).toEqual({
    id: "BIGINT",
    flag: "BOOLEAN",
    tiny: "TINYINT",
    small: "SMALLINT",
    medium: "INTEGER",
    large: "BIGINT",
    single: "FLOAT",
    real: "DOUBLE",
    text: "VARCHAR",
    doc: "VARCHAR",
    raw: "BLOB",
    at: "TIMESTAMP WITH TIME ZONE",
    list: "VARCHAR[]",
    numbers: "BIGINT[]",
    vector: "FLOAT[]",
    half: "FLOAT[]",
    brain: "FLOAT[]",
    bytes: "TINYINT[]",
    bits: "BLOB",
    sparse: 'STRUCT("index" BIGINT, "value" FLOAT)[]',
    $meta: "VARCHAR",
  });
  const [row] = await duck(
    file,
    `SELECT id, tiny, small, large, text, hex(raw) AS raw, epoch_us("at") AS at, list, numbers, vector,
       half, brain, bytes, hex(bits) AS bits, sparse, "$meta" AS meta FROM file WHERE flag`,
  );
  expect(row).toEqual({
    id: "9223372036854775807",
    tiny: -128,
    small: 32767,
    large: "-9223372036854775808",
    text: "grüße 🚀",
    raw: "0001FF",
    at: "1709210096789012",
    list: ["a", "", "ü"],
    numbers: ["1", "-2"],
    vector: [1, -2, 0.5],
    half: [0.5, -65504],
    brain: [1, -3],
    bytes: [-128, 127],
    bits: "01FF",
    sparse: [
      { index: "7", value: 0.25 },
      { index: "4294967295", value: -1 },
    ],
    meta: '{"extra":"kept"}',
  });
  const nulls = await duck(
    file,
    "SELECT count(*) AS n FROM file WHERE text IS NULL AND list IS NULL",
  );
  expect(nulls).toEqual([{ n: "1" }]);
});

test("rows of many messages become few row groups, and large messages several", async () => {
  const schema = checkSchema(
    create(CollectionSchemaSchema, {
      fields: [
        { name: "id", type: DataType.INT64, primaryKey: true },
        { name: "name", type: DataType.VARCHAR, nullable: true },
      ],
    }),
  );
  const messages = [1, 70, 3, 250, 20].map((count, message) =>
    Array.from({ length: count }, (_, row) => ({
      id: message * 1000 + row,
      name: row % 3 === 0 ? null : `name ${row % 7}`,
    })),
  );
  const file = await encode(schema, messages, { groupRows: 100 });
  const { row_groups } = parquetMetadata(file.slice().buffer);
  expect(row_groups.map((group) => Number(group.num_rows))).toEqual([100, 100, 100, 44]);
  expect(row_groups.every((group) => group.columns.length === 2)).toBe(true);
  const expected = messages.flat();
  const rows = await parquetReadObjects({ file: file.slice().buffer });
  expect(rows.map(({ id, name }) => ({ id: Number(id), name: name ?? null }))).toEqual(expected);
  const [sums] = await duck(
    file,
    "SELECT count(*) AS n, sum(id) AS ids, count(name) AS names FROM file",
  );
  expect(sums).toEqual({
    n: "344",
    ids: String(expected.reduce((sum, { id }) => sum + id, 0)),
    names: String(expected.filter(({ name }) => name !== null).length),
  });
});

test("row groups are also bounded in bytes", async () => {
  const schema = checkSchema(
    create(CollectionSchemaSchema, {
      fields: [
        { name: "id", type: DataType.INT64, primaryKey: true },
        { name: "text", type: DataType.VARCHAR },
      ],
    }),
  );
  const rows = Array.from({ length: 40 }, (_, id) => ({ id, text: "x".repeat(1000) }));
  const file = await encode(schema, [rows], { groupBytes: 10_000 });
  const { row_groups } = parquetMetadata(file.slice().buffer);
  expect(row_groups.length).toBeGreaterThanOrEqual(4);
  expect(row_groups.length).toBeLessThanOrEqual(5);
});

test("rows that do not decode are named by their place, and nothing is made of them", async () => {
  const encoder = createParquetEncoder({ clock: createVirtualClock() });
  const good = toBinary(ColumnBatchSchema, rowsToColumns(everyType, [full], {}));
  const read = async (piece: Piece): Promise<void> => {
    for await (const _ of encoder({ schema: everyType, pieces: [piece] }).body);
  };
  await expect(read({ sequence: 7, rows: 2, payload: good })).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringContaining("sequence 7"),
  });
  await expect(
    read({ sequence: 8, rows: 1, payload: new Uint8Array([1, 2, 3]) }),
  ).rejects.toMatchObject({ code: "DATA_LOSS" });
  const cut = rowsToColumns(everyType, [full], {});
  const text = cut.columns.find((column) => column.name === "text");
  if (text) text.values = text.values.slice(0, 2);
  await expect(
    read({ sequence: 9, rows: 1, payload: toBinary(ColumnBatchSchema, cut) }),
  ).rejects.toMatchObject({ code: "DATA_LOSS", message: expect.stringContaining("text") });
});

async function encode(
  schema: CollectionSchema,
  messages: Record<string, unknown>[][],
  limits: { groupRows?: number; groupBytes?: number } = {},
): Promise<Uint8Array> {
  const encoder = createParquetEncoder({ clock: createVirtualClock(), ...limits });
  const pieces = messages.map((rows, sequence) => ({
    sequence,
    rows: rows.length,
    payload: toBinary(ColumnBatchSchema, rowsToColumns(schema, rows, {})),
  }));
  const chunks: Uint8Array[] = [];
  for await (const chunk of encoder({ schema, pieces }).body) chunks.push(chunk);
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

async function duck(file: Uint8Array, sql: string): Promise<Record<string, unknown>[]> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-parquet-"));
  const instance = await DuckDBInstance.create();
  const connection = await instance.connect();
  try {
    const path = join(folder, "file.parquet");
    await writeFile(path, file);
    await connection.run("SET TimeZone = 'UTC'");
    await connection.run(`CREATE VIEW file AS SELECT * FROM read_parquet('${path}')`);
    return (await connection.runAndReadAll(sql)).getRowObjectsJson() as Record<string, unknown>[];
  } finally {
    connection.closeSync();
    instance.closeSync();
    await rm(folder, { recursive: true });
  }
}
