import { truncate } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import { checkColumns, checkSchema, columnsToRows, typeName } from "@millrace/types";
import { DataType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { parseSchema } from "../src/schema-file.ts";
import { batchesOf, open, rowsOf, tempFolder } from "./support.ts";

const flights = fileURLToPath(
  new URL("../../../node_modules/vega-datasets/data/flights-3m.parquet", import.meta.url),
);

/** Writes the result of a query to a Parquet file. */
async function parquetOf(query: string, options = "CODEC 'zstd'"): Promise<string> {
  const path = join(await tempFolder(), "rows.parquet");
  const instance = await DuckDBInstance.create();
  const connection = await instance.connect();
  await connection.run(`COPY (${query}) TO '${path}' (FORMAT parquet, ${options})`);
  connection.closeSync();
  instance.closeSync();
  return path;
}

async function inferred(path: string) {
  return checkSchema(await (await open(path)).inferSchema(undefined));
}

test("the flights are read whole, with their types", async () => {
  const schema = await inferred(flights);
  expect(schema.fields.map(({ name, type }) => `${name} ${typeName(type)}`)).toEqual([
    "id INT64",
    "date TIMESTAMP",
    "delay INT64",
    "distance INT64",
    "origin VARCHAR",
    "destination VARCHAR",
  ]);
  const input = await open(flights);
  let rows = 0;
  let first: unknown;
  for await (const batch of input.batches(schema, { batchRows: 16_384, batchBytes: 1 << 20 })) {
    expect(batch.firstRow).toBe(rows);
    if (rows === 0) first = columnsToRows(checkColumns(schema, batch.columns))[0];
    rows += batch.rows;
  }
  expect(rows).toBe(3_000_000);
  expect(first).toEqual({
    date: "2001-01-01T00:01:00Z",
    delay: 33,
    distance: 2176,
    origin: "LAS",
    destination: "PHL",
  });
});

test("values of every plain type come through, nulls among them", async () => {
  const path = await parquetOf(`
    SELECT * FROM (VALUES
      (true, (-128)::TINYINT, 255::UTINYINT, 65535::USMALLINT, 4294967295::UINTEGER,
       9223372036854775807::BIGINT, (-9223372036854775808)::BIGINT, 1.5::FLOAT, 0.1::DOUBLE, 12.34::DECIMAL(9,2),
       'ü00501', 'a'::BLOB, DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00.000001',
       TIMESTAMP_MS '1969-12-31 23:59:59.999', '[1]'::JSON),
      (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
    ) t(b, i8, u8, u16, u32, most, least, f, d, dec, s, raw, day, us, ms, doc)`);
  const schema = await inferred(path);
  const types = Object.fromEntries(schema.fields.map(({ name, type }) => [name, typeName(type)]));
  expect(types).toMatchObject({
    ...{ i8: "INT8", u8: "INT16", u16: "INT32", u32: "INT64", most: "INT64", raw: "BYTES" },
    ...{ f: "FLOAT", d: "DOUBLE", dec: "DOUBLE", s: "VARCHAR", day: "TIMESTAMP", doc: "JSON" },
  });
  const [batch] = await batchesOf(path, schema);
  if (!batch) throw new Error("no batch");
  const [values, nulls] = columnsToRows(checkColumns(schema, batch.columns));
  expect(values).toEqual({
    ...{ b: true, i8: -128, u8: 255, u16: 65_535, u32: 4_294_967_295 },
    ...{ most: "9223372036854775807", least: "-9223372036854775808" },
    ...{ f: 1.5, d: 0.1, dec: 12.34, s: "ü00501", raw: "YQ==" },
    ...{ day: "2024-02-29T00:00:00Z", us: "2024-02-29T12:00:00.000001Z" },
    ...{ ms: "1969-12-31T23:59:59.999Z", doc: [1] },
  });
  expect(new Set(Object.values(nulls ?? {}))).toEqual(new Set([null]));
});

test("lists become arrays, structs and maps JSON, and a schema can make a list a vector", async () => {
  const path = await parquetOf(`
    SELECT n AS id, [n, n + 1] AS list, ['a', NULL] AS texts, {'a': n, 'b': [1]} AS struct,
      [n / 2, 1.5, 2]::FLOAT[] AS v, [[1]] AS deep FROM range(3) t(n)`);
  const schema = await inferred(path);
  expect(schema.fields.slice(1).map(({ type }) => typeName(type))).toEqual([
    ...["INT64", "ARRAY", "ARRAY", "JSON", "ARRAY", "JSON"],
  ]);
  const fields = [
    { name: "id", type: "int64", primaryKey: true },
    { name: "list", type: "array", elementType: "int64" },
    { name: "texts", type: "json" },
    { name: "struct", type: "json" },
    { name: "v", type: "float_vector", dimension: 3 },
    { name: "deep", type: "json" },
  ];
  const rows = await rowsOf(path, checkSchema(parseSchema(JSON.stringify({ fields }))));
  expect(rows[1]).toEqual({
    ...{ id: 1, list: [1, 2], texts: ["a", null], struct: { a: 1, b: [1] } },
    ...{ v: [0.5, 1.5, 2], deep: [[1]] },
  });
});

test.each(["snappy", "gzip", "zstd", "lz4_raw", "brotli", "uncompressed"])(
  "%s is unpacked, over several row groups and both page versions",
  async (codec) => {
    const query = "SELECT n, 'x' || (n % 7) AS s, n * 0.5 AS d FROM range(10000) t(n)";
    for (const version of ["V1", "V2"]) {
      const options = `CODEC '${codec}', ROW_GROUP_SIZE 4096, PARQUET_VERSION ${version}`;
      const path = await parquetOf(query, options);
      const rows = await rowsOf(path, await inferred(path));
      expect(rows).toHaveLength(10_000);
      expect(rows[9999]).toEqual({ n: 9999, s: "x3", d: 4999.5 });
    }
  },
);

test("wide rows are halved until a request holds them, each time in the same way", async () => {
  const path = await parquetOf("SELECT n, repeat('x', 1000) AS s FROM range(1000) t(n)");
  const schema = await inferred(path);
  const sizes = async () =>
    (await batchesOf(path, schema, { batchBytes: 100_000 })).map((batch) => batch.rows);
  const first = await sizes();
  expect(Math.max(...first)).toBeLessThan(100);
  expect(first.reduce((sum, rows) => sum + rows)).toBe(1000);
  expect(await sizes()).toEqual(first);
});

test("what does not fit the collection is refused", async () => {
  const path = await parquetOf("SELECT n AS id, 300 AS small FROM range(3) t(n)");
  const schemaWith = (...more: object[]) =>
    checkSchema(
      parseSchema(
        JSON.stringify({ fields: [{ name: "id", type: "int64", primaryKey: true }, ...more] }),
      ),
    );
  await expect(rowsOf(path, schemaWith())).rejects.toThrow(
    /rows\.parquet has a column "small" that the collection has not/,
  );
  await expect(rowsOf(path, schemaWith({ name: "small", type: "int8" }))).rejects.toThrow(
    /rows\.parquet, rows 1 to 3: small has the value 300, which INT8 cannot hold/,
  );
  await expect(rowsOf(path, schemaWith({ name: "small", type: "bool" }))).rejects.toThrow(
    /rows\.parquet, row 1: small/,
  );
  expect((await inferred(path)).fields[2]?.type).toBe(DataType.INT32);
});

test("a file that was cut is refused", async () => {
  const path = await parquetOf("SELECT n FROM range(1000) t(n)");
  await truncate(path, 500);
  await expect(open(path)).rejects.toThrow(/rows\.parquet is not a whole Parquet file/);
});
