import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createFileObjectStore } from "@millrace/storage/file";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { type Cluster, startStandalone } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { downloadTable, query } from "../harness/table.ts";
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

const collection = "flights";
const insert = (rows: object[]) => call(cluster.url, "Insert", { collection, rows });

async function flush(): Promise<void> {
  const { code, stderr } = await run(["flush", collection, "--server", cluster.url]);
  expect(code, stderr).toBe(0);
}

/** What the table's log says is the table, as DuckDB reads it. */
async function table(): Promise<string> {
  const described = await call(cluster.url, "DescribeCollection", { name: collection });
  const { tablePath } = described.collection as { tablePath: string };
  const store = await createFileObjectStore({ dir: storeFolder });
  const { committed } = await downloadTable(store, tablePath, join(temp.path, "copy"));
  const files = committed.map((path) => `'${path}'`).join(", ");
  return `read_parquet([${files}], union_by_name = true, hive_partitioning = false)`;
}

test("a field is added under load: no insert fails, rows of before have none, the table has it", async () => {
  await call(cluster.url, "CreateCollection", {
    name: collection,
    shards: 4,
    schema: { fields: [{ name: "id", type: "DATA_TYPE_INT64", primaryKey: true }] },
  });
  await insert([{ id: 1 }, { id: 2 }, { id: 3 }]);
  await flush();

  const inserts: Promise<unknown>[] = [];
  for (let id = 100; id < 160; id++) inserts.push(insert([{ id }]));
  const field = { name: "gate", type: "DATA_TYPE_VARCHAR", nullable: true, maxLength: 10 };
  const altered = call(cluster.url, "AlterCollection", { name: collection, addFields: [field] });
  for (let id = 160; id < 220; id++) inserts.push(insert([{ id }]));
  expect(await altered).toMatchObject({ collection: { schema: { version: 2 } } });
  const rows = Array.from({ length: 20 }, (_, i) => ({ id: 300 + i, gate: `B${i}` }));
  await insert(rows);
  await Promise.all(inserts);
  await expect(insert([{ id: 400, terminal: "2" }])).rejects.toMatchObject({
    code: "invalid_argument",
  });
  await flush();

  const read = await query(
    `SELECT count(*) AS rows, count(DISTINCT id) AS ids, count(gate) AS gates, min(gate) AS gate
     FROM ${await table()}`,
  );
  expect(read).toEqual([{ rows: "143", ids: "143", gates: "20", gate: "B0" }]);
});

test("a truncated collection has the rows alone that came after", async () => {
  await insert([{ id: 500 }, { id: 501 }]);
  await call(cluster.url, "TruncateCollection", { name: collection });
  await insert([{ id: 600 }, { id: 601 }, { id: 602 }]);
  await flush();
  const read = await query(`SELECT count(*) AS rows, min(id) AS first FROM ${await table()}`);
  expect(read).toEqual([{ rows: "3", first: "600" }]);
});
