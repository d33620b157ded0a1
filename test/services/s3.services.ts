import { join } from "node:path";
import { type ObjectStore, openS3ObjectStore } from "@millrace/storage";
import { systemClock, systemRandom } from "@millrace/types/node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { type Cluster, startProcesses, startStandalone } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { downloadTable, parquet, query } from "../harness/table.ts";
import { createTempFolder, type TempFolder } from "../harness/temp.ts";
import { bucket } from "./environment.ts";
import { type Relay, startRelay } from "./relay.ts";

const endpoint = process.env.MILLRACE_TEST_S3_ENDPOINT ?? "";
const schema = {
  fields: [
    { name: "id", type: "DATA_TYPE_INT64", primaryKey: true },
    { name: "name", type: "DATA_TYPE_VARCHAR", maxLength: 100 },
  ],
};

let prefix = "";
let temp: TempFolder;
let relay: Relay;
let cluster: Cluster | undefined;

beforeEach(async ({ task }) => {
  prefix = `services-${process.pid}-${task.id}`;
  temp = await createTempFolder();
  relay = await startRelay(endpoint);
  cluster = undefined;
});

afterEach(async () => {
  await relay.restore().catch(() => undefined);
  await cluster?.stop();
  await relay.close();
  await temp[Symbol.asyncDispose]();
});

const storeFlags = (url: string, name = bucket): string[] => [
  ...["--store", `s3://${name}/${prefix}`],
  ...["--s3-endpoint", url],
];

const insert = (url: string, start: number, count: number) =>
  call(url, "Insert", {
    collection: "rows",
    rows: Array.from({ length: count }, (_, i) => ({ id: start + i, name: `row ${start + i}` })),
  });

async function openStore(): Promise<ObjectStore> {
  const { AWS_ACCESS_KEY_ID = "", AWS_SECRET_ACCESS_KEY = "" } = process.env;
  return await openS3ObjectStore({
    bucket,
    prefix,
    endpoint,
    credentials: { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY },
    clock: systemClock,
    random: systemRandom,
  });
}

/** What DuckDB finds in the table: how many rows, how many keys, and their sum. */
async function tableOf(url: string): Promise<Record<string, unknown> | undefined> {
  const described = await run(["collection", "describe", "rows", "--json", "--server", url]);
  const { tablePath } = JSON.parse(described.stdout) as { tablePath: string };
  const store = await openStore();
  const files = await downloadTable(store, tablePath, join(temp.path, "copy"));
  await store.close();
  expect(files.present).toEqual(files.committed);
  const from = parquet(files.committed);
  const sums = "count(*) AS n, count(DISTINCT id) AS keys, sum(id)::VARCHAR AS sum";
  return (await query(`SELECT ${sums} FROM ${from}`))[0];
}

async function flush(url: string): Promise<void> {
  const flushed = await run(["flush", "rows", "--server", url]);
  expect(flushed.code, flushed.stderr).toBe(0);
}

test("inserts go on while S3 is away, and the flush resumes when it is back", async () => {
  cluster = await startStandalone({ folder: temp.path, store: storeFlags(relay.url) });
  const { url } = cluster;
  await call(url, "CreateCollection", { name: "rows", schema });
  await insert(url, 0, 1000);
  await relay.cut();
  const flushing = flush(url);
  for (let start = 1000; start < 5000; start += 1000) await insert(url, start, 1000);
  await relay.restore();
  await flushing;
  await flush(url);
  expect(await tableOf(url)).toEqual({ n: "5000", keys: "5000", sum: String((5000 * 4999) / 2) });
  expect(await cluster.stop()).toEqual([0]);
  cluster = undefined;
});

test("four processes write one table to S3 and survive a kill", async () => {
  cluster = await startProcesses({ folder: temp.path, store: storeFlags(endpoint) });
  const { url } = cluster;
  await call(url, "CreateCollection", { name: "rows", schema, shards: 4 });
  await insert(url, 0, 1000);
  await cluster.crash();
  await expect
    .poll(
      () =>
        insert(url, 1000, 1000).then(
          () => true,
          () => false,
        ),
      {
        timeout: 30_000,
        interval: 200,
      },
    )
    .toBe(true);
  await flush(url);
  expect(await tableOf(url)).toMatchObject({ keys: "2000" });
});

test.each([
  ["the keys are wrong", { AWS_SECRET_ACCESS_KEY: "wrong-secret" }, bucket, /signature/],
  ["there is no such bucket", {}, "not-there", /bucket not-there .*create it/],
])("it does not start when %s, and says so in one line", async (_name, env, name, message) => {
  const args = ["standalone", "--listen", "127.0.0.1:0", "--data", join(temp.path, "data")];
  const result = await run([...args, ...storeFlags(endpoint, name)], { env });
  expect(result.code).toBe(1);
  expect(result.stderr.trim().split("\n")).toHaveLength(1);
  expect(result.stderr).toMatch(message);
  expect(result.stderr).not.toContain("wrong-secret");
});

test("it says where it looked when S3 is away at the start, and starts when it is back", async () => {
  await relay.cut();
  const args = ["standalone", "--listen", "127.0.0.1:0", "--data", join(temp.path, "data")];
  const result = await run([...args, ...storeFlags(relay.url)]);
  expect(result.code).toBe(1);
  // Before it the log tells of each attempt.
  const last = result.stderr.trim().split("\n").at(-1);
  expect(last).toContain(`no answer from ${new URL(relay.url).host}`);
  await relay.restore();
  cluster = await startStandalone({ folder: temp.path, store: storeFlags(relay.url) });
});
