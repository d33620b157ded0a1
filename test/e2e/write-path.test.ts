import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createFileObjectStore } from "@millrace/storage/file";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { type Cluster, startStandalone } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { downloadTable, parquet, query } from "../harness/table.ts";
import { tailRows } from "../harness/tail.ts";
import { createTempFolder, type TempFolder } from "../harness/temp.ts";

let temp: TempFolder;
let cluster: Cluster;
let storeFolder: string;

beforeAll(async () => {
  temp = await createTempFolder();
  storeFolder = join(temp.path, "store");
  await mkdir(storeFolder);
  cluster = await startStandalone({
    folder: temp.path,
    store: ["--store", `file:${storeFolder}`],
  });
});

afterAll(async () => {
  expect(await cluster.stop()).toEqual([0]);
  await temp[Symbol.asyncDispose]();
});

const millrace = (...args: string[]) => run([...args, "--server", cluster.url]);

async function tableOf(collection: string): Promise<string[]> {
  const described = await millrace("collection", "describe", collection, "--json");
  const { tablePath } = JSON.parse(described.stdout) as { tablePath: string };
  const store = await createFileObjectStore({ dir: storeFolder });
  const files = await downloadTable(store, tablePath, join(temp.path, "copy"));
  expect(files.present).toEqual(files.committed);
  return files.committed;
}

test("a row of every type goes in by the command and comes out of the tail and the table", async () => {
  const schema = {
    fields: [
      { name: "id", type: "DATA_TYPE_INT64", primaryKey: true },
      { name: "flag", type: "DATA_TYPE_BOOL" },
      { name: "tiny", type: "DATA_TYPE_INT8" },
      { name: "small", type: "DATA_TYPE_INT16" },
      { name: "medium", type: "DATA_TYPE_INT32" },
      { name: "single", type: "DATA_TYPE_FLOAT" },
      { name: "double", type: "DATA_TYPE_DOUBLE" },
      { name: "text", type: "DATA_TYPE_VARCHAR", maxLength: 100 },
      { name: "doc", type: "DATA_TYPE_JSON", nullable: true },
      { name: "raw", type: "DATA_TYPE_BYTES" },
      { name: "at", type: "DATA_TYPE_TIMESTAMP" },
      { name: "tags", type: "DATA_TYPE_ARRAY", elementType: "DATA_TYPE_VARCHAR", maxLength: 20 },
      { name: "v32", type: "DATA_TYPE_FLOAT_VECTOR", dimension: 2 },
      { name: "v16", type: "DATA_TYPE_FLOAT16_VECTOR", dimension: 2 },
      { name: "vb16", type: "DATA_TYPE_BFLOAT16_VECTOR", dimension: 2 },
      { name: "v8", type: "DATA_TYPE_INT8_VECTOR", dimension: 2 },
      { name: "bits", type: "DATA_TYPE_BINARY_VECTOR", dimension: 16 },
      { name: "sparse", type: "DATA_TYPE_SPARSE_VECTOR" },
    ],
    enableDynamicField: true,
  };
  const row = {
    id: "9223372036854775807",
    flag: true,
    tiny: -128,
    small: -32768,
    medium: 2147483647,
    single: 0.5,
    double: 0.1,
    text: "00501 ü",
    doc: { a: [1, null] },
    raw: "AAEC",
    at: "2026-01-02T03:04:05.000006Z",
    tags: ["x", "y"],
    v32: [0.25, -1],
    v16: [0.5, 2],
    vb16: [1, -2],
    v8: [-1, 127],
    bits: [255, 1],
    sparse: { "3": 0.5, "10": 1 },
    extra: "kept",
  };
  const schemaFile = join(temp.path, "schema.json");
  await writeFile(schemaFile, JSON.stringify(schema));
  const created = await millrace("collection", "create", "everything", "--schema", schemaFile);
  expect(created.code, created.stderr).toBe(0);
  const inserted = await run(["insert", "everything", "-", "--server", cluster.url], {
    input: `${JSON.stringify(row)}\n`,
  });
  expect(inserted.code, inserted.stderr).toBe(0);

  const [tailed] = await tailRows(cluster.url, "everything", 1);
  expect(tailed).toMatchObject({ ...row, bits: expect.anything() });

  const flushed = await millrace("flush", "everything");
  expect(flushed.code, flushed.stderr).toBe(0);
  const [read] = await query(`SELECT id, flag, tiny, small, medium, single, double, text,
    epoch_us("at") AS "at", tags, v32, v16, vb16, v8, octet_length(raw) AS raw
    FROM ${parquet(await tableOf("everything"))}`);
  expect(read).toMatchObject({
    id: "9223372036854775807",
    flag: true,
    tiny: -128,
    small: -32768,
    medium: 2147483647,
    single: 0.5,
    double: 0.1,
    text: "00501 ü",
    at: "1767323045000006",
    tags: ["x", "y"],
    v32: [0.25, -1],
    v16: [0.5, 2],
    vb16: [1, -2],
    v8: [-1, 127],
    raw: "3",
  });
});

test("a rerun with the same idempotency prefix inserts nothing twice", async () => {
  const file = join(temp.path, "zips.csv");
  const lines = Array.from(
    { length: 1000 },
    (_, index) => `${String(index).padStart(5, "0")},${index}`,
  );
  await writeFile(file, `zip,n\n${lines.join("\n")}\n`);
  const args = ["insert", "zips", file, "--create", "--idempotency-prefix", "zips-1"];
  for (let attempt = 0; attempt < 2; attempt++) {
    const inserted = await millrace(...args);
    expect(inserted.code, inserted.stderr).toBe(0);
  }
  const flushed = await millrace("flush", "zips");
  expect(flushed.code, flushed.stderr).toBe(0);
  const [counts] = await query(
    `SELECT count(*) AS n, min(zip) AS first, max(zip) AS last FROM ${parquet(await tableOf("zips"))}`,
  );
  expect(counts).toEqual({ n: "1000", first: "00000", last: "00999" });
});

test("rows go to partitions that were created", async () => {
  await call(cluster.url, "CreateCollection", {
    name: "parts",
    schema: { fields: [{ name: "id", type: "DATA_TYPE_INT64", primaryKey: true }] },
  });
  await call(cluster.url, "CreatePartition", { collection: "parts", partition: "north" });
  await call(cluster.url, "Insert", { collection: "parts", partition: "north", rows: [{ id: 1 }] });
  await call(cluster.url, "Insert", { collection: "parts", rows: [{ id: 2 }] });
  const nowhere = { collection: "parts", partition: "nowhere", rows: [{ id: 3 }] };
  await expect(call(cluster.url, "Insert", nowhere)).rejects.toMatchObject({ code: "not_found" });

  const flushed = await millrace("flush", "parts");
  expect(flushed.code, flushed.stderr).toBe(0);
  const files = await tableOf("parts");
  const north = files.filter((path) => path.includes("_partition=north"));
  expect(await query(`SELECT id FROM ${parquet(north)}`)).toEqual([{ id: "1" }]);
  expect(await query(`SELECT count(*) AS n FROM ${parquet(files)}`)).toEqual([{ n: "2" }]);
});

test("a deletion is recorded and tailed", async () => {
  await call(cluster.url, "CreateCollection", {
    name: "gone",
    schema: { fields: [{ name: "id", type: "DATA_TYPE_VARCHAR", primaryKey: true }] },
  });
  await call(cluster.url, "Insert", { collection: "gone", rows: [{ id: "a" }, { id: "b" }] });
  const deleted = await call(cluster.url, "Delete", { collection: "gone", keys: ["a"] });
  expect(deleted).toMatchObject({ keys: 1 });
  expect(BigInt(String(deleted.tick))).toBeGreaterThan(0n);
});

test("a dropped collection is gone, and its name may be taken again", async () => {
  const schema = { fields: [{ name: "id", type: "DATA_TYPE_INT64", primaryKey: true }] };
  const first = await call(cluster.url, "CreateCollection", { name: "brief", schema });
  await call(cluster.url, "Insert", { collection: "brief", rows: [{ id: 1 }] });
  const dropped = await millrace("collection", "drop", "brief");
  expect(dropped.code, dropped.stderr).toBe(0);
  const insert = { collection: "brief", rows: [{ id: 2 }] };
  await expect(call(cluster.url, "Insert", insert)).rejects.toMatchObject({ code: "not_found" });

  const second = await call(cluster.url, "CreateCollection", { name: "brief", schema });
  expect(second.collection).not.toEqual(first.collection);
  await call(cluster.url, "Insert", insert);
  expect(await tailRows(cluster.url, "brief", 1)).toMatchObject([{ id: 2 }]);
});

test("status names every pchannel, its owner and its log", async () => {
  const status = await millrace("status", "--json");
  expect(status.code, status.stderr).toBe(0);
  const parsed = JSON.parse(status.stdout) as { pchannels: { state: string }[] };
  expect(parsed.pchannels).toHaveLength(16);
  expect(new Set(parsed.pchannels.map((pchannel) => pchannel.state))).toEqual(
    new Set(["assigned"]),
  );
});
