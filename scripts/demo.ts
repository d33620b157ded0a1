/**
 * The main job of Millrace on real input: three million flights go in over a crash, are tailed, and
 * end in a table that DuckDB agrees with.
 *
 * `npm run demo -- [--processes] [--store s3://bucket/prefix --s3-endpoint URL --s3-region R]`
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { ObjectStore } from "@millrace/storage";
import { createFileObjectStore } from "@millrace/storage/file";
import { openObjectStore } from "../apps/cli/src/wiring/object-store.ts";
import { startProcesses, startStandalone } from "../test/harness/cluster.ts";
import { run, spawnMillrace } from "../test/harness/process.ts";
import { downloadTable, parquet, query } from "../test/harness/table.ts";
import { createTempFolder } from "../test/harness/temp.ts";

const { values: flags } = parseArgs({
  options: {
    processes: { type: "boolean", default: false },
    store: { type: "string" },
    "s3-endpoint": { type: "string" },
    "s3-region": { type: "string", default: "us-east-1" },
    file: { type: "string" },
  },
});
const source =
  flags.file ??
  fileURLToPath(new URL("../node_modules/vega-datasets/data/flights-3m.parquet", import.meta.url));
const collection = "flights";
const shards = flags.processes ? 4 : 1;
const memoryLimit = 600 * 1024 * 1024;

const started = performance.now();
const say = (text: string): void => {
  console.log(`[${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s] ${text}`);
};

await using temp = await createTempFolder("millrace-demo");
const storeFolder = join(temp.path, "store");
await mkdir(storeFolder);
const storeFlags = flags.store
  ? [
      ...["--store", flags.store],
      ...(flags["s3-endpoint"] ? ["--s3-endpoint", flags["s3-endpoint"]] : []),
      ...["--s3-region", flags["s3-region"]],
    ]
  : ["--store", `file:${storeFolder}`];

const start = flags.processes ? startProcesses : startStandalone;
const cluster = await start({ folder: temp.path, store: storeFlags });
let peakBytes = 0;
const sampler = setInterval(() => {
  peakBytes = Math.max(peakBytes, cluster.residentBytes());
}, 100);
const failures: string[] = [];

try {
  say(`serving on ${cluster.url} (${flags.processes ? "coord, 2 nodes, proxy" : "one process"})`);
  const server = ["--server", cluster.url];

  say(`inserting ${source.split("/").at(-1)}`);
  let crashed: Promise<void> | undefined;
  let showRows: Promise<void> | undefined;
  const insert = run(
    [
      ...["insert", collection, source, "--create", "--shards", String(shards)],
      ...["--idempotency-prefix", "demo", ...server],
    ],
    {
      onStderr(line) {
        say(`insert: ${line}`);
        const rows = Number(/([\d,]+) rows/.exec(line)?.[1]?.replaceAll(",", "") ?? 0);
        if (rows > 0) showRows ??= showTail(server);
        if (rows > 1_000_000) crashed ??= crashAndRestart();
      },
    },
  );
  const inserted = await insert;
  if (inserted.code !== 0) throw new Error(`the insert ended with ${inserted.code}`);
  say(`insert: ${inserted.stdout.trim()}`);
  if (!crashed) failures.push("the server was not killed in the middle of the insert");
  await crashed;
  await showRows;

  say("flushing");
  const flushed = await run(["flush", collection, ...server]);
  if (flushed.code !== 0)
    throw new Error(`the flush ended with ${flushed.code}: ${flushed.stderr}`);
  say("flushed");

  const described = await run(["collection", "describe", collection, "--json", ...server]);
  const { tablePath } = JSON.parse(described.stdout) as { tablePath: string };
  const store = await openStore();
  const files = await downloadTable(store, tablePath, join(temp.path, "copy"));
  await store.close();
  say(`the table ${tablePath} has ${files.committed.length} Parquet files`);
  compare("Parquet files on the store, and in the table's log", files.present, files.committed);
  await compareWithSource(files.committed);
  say(`peak resident memory of a server: ${Math.round(peakBytes / 1024 / 1024)} MiB`);
  if (peakBytes > memoryLimit) failures.push("a server used more than 600 MiB of memory");
} catch (error) {
  failures.push(error instanceof Error ? error.message : String(error));
} finally {
  clearInterval(sampler);
  const codes = await cluster.stop();
  if (codes.some((code) => code !== 0)) failures.push(`exit codes after SIGTERM: ${codes}`);
}
for (const failure of failures) say(`FAILED: ${failure}`);
say(failures.length === 0 ? "the table is what was inserted" : "the demo failed");
process.exitCode = failures.length === 0 ? 0 : 1;

/** Prints the first rows that a tail delivers, then ends it. */
async function showTail(server: readonly string[]): Promise<void> {
  const child = spawnMillrace(["tail", collection, "--from", "earliest", ...server]);
  let shown = 0;
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      if (shown++ < 5) say(`tail: ${line}`);
    }
    if (shown >= 5) break;
  }
  child.kill("SIGTERM");
}

async function crashAndRestart(): Promise<void> {
  say("SIGKILL to a server in the middle of the insert");
  const before = performance.now();
  await cluster.crash();
  say(`it serves again after ${Math.round(performance.now() - before)} ms`);
}

async function openStore(): Promise<ObjectStore> {
  if (!flags.store) return await createFileObjectStore({ dir: storeFolder });
  const { AWS_ACCESS_KEY_ID: accessKeyId = "", AWS_SECRET_ACCESS_KEY: secretAccessKey = "" } =
    process.env;
  return await openObjectStore(flags.store, {
    s3: {
      endpoint: flags["s3-endpoint"] ?? process.env.MILLRACE_S3_ENDPOINT,
      region: flags["s3-region"],
      credentials: { accessKeyId, secretAccessKey },
    },
  });
}

async function compareWithSource(paths: readonly string[]): Promise<void> {
  const theirs = parquet([source]);
  const ours = parquet(paths);
  const rowHash = "hash(epoch_us(date), delay, distance, origin, destination)";
  const both = async (sql: (from: string) => string) =>
    [await query(sql(theirs)), await query(sql(ours))] as const;

  compare("rows", ...(await both((from) => `SELECT count(*) AS n FROM ${from}`)));
  compare(
    "flights, delay and distance by origin",
    ...(await both(
      (from) => `SELECT origin, count(*) AS n, sum(delay) AS delay, sum(distance) AS distance,
        min(epoch_us(date)) AS first, max(epoch_us(date)) AS last
        FROM ${from} GROUP BY origin ORDER BY origin`,
    )),
  );
  compare(
    "sum of all row hashes",
    ...(await both((from) => `SELECT sum(${rowHash}::HUGEINT)::VARCHAR AS h FROM ${from}`)),
  );
  const ids = `SELECT count(*) - count(DISTINCT id) AS repeated FROM ${ours}`;
  compare("primary keys that repeat", [{ repeated: "0" }], await query(ids));
}

function compare(what: string, expected: readonly unknown[], found: readonly unknown[]): void {
  const same = JSON.stringify(expected) === JSON.stringify(found);
  const brief = (rows: readonly unknown[]): string =>
    rows.length === 1 ? JSON.stringify(rows[0]) : `${rows.length} rows`;
  say(
    `compared ${what}: expected ${brief(expected)}, found ${brief(found)}: ${same ? "same" : "DIFFERENT"}`,
  );
  if (!same) failures.push(`${what} differ`);
}
