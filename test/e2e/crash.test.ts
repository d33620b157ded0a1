import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createFileObjectStore } from "@millrace/storage/file";
import { createSeededRandom } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { call, callUntilDone } from "../harness/client.ts";
import { startStandalone } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { downloadTable, parquet, query } from "../harness/table.ts";
import { tailUntil } from "../harness/tail.ts";
import { createTempFolder } from "../harness/temp.ts";

const kills = Number(process.env.MILLRACE_TEST_KILLS ?? 30);
const batchRows = 50;

test(`every row is in the tail and in the table exactly once after ${kills} kills`, {
  timeout: 300_000,
}, async () => {
  await using temp = await createTempFolder();
  const seed = Number(process.env.MILLRACE_TEST_SEED ?? 1);
  const random = createSeededRandom(seed);
  const storeFolder = join(temp.path, "store");
  await mkdir(storeFolder);
  const cluster = await startStandalone({
    folder: temp.path,
    store: ["--store", `file:${storeFolder}`],
  });
  try {
    await call(cluster.url, "CreateCollection", {
      name: "events",
      shards: 2,
      schema: {
        fields: [
          { name: "id", type: "DATA_TYPE_INT64", primaryKey: true, autoId: true },
          { name: "n", type: "DATA_TYPE_INT64" },
        ],
      },
    });

    let acknowledged = 0;
    let stopping = false;
    const write = async (writer: number): Promise<void> => {
      for (let batch = 0; !stopping; batch++) {
        const first = (writer * 1_000_000 + batch) * batchRows;
        const rows = Array.from({ length: batchRows }, (_, index) => ({ n: first + index }));
        const idempotencyKey = `${writer}/${batch}`;
        await callUntilDone(cluster.url, "Insert", { collection: "events", rows, idempotencyKey });
        acknowledged += batchRows;
      }
    };
    const writers = [write(0), write(1), write(2)];

    for (let kill = 0; kill < kills; kill++) {
      const target = acknowledged + Math.floor(random.next() * 40) * batchRows;
      while (acknowledged < target) await new Promise((resolve) => setTimeout(resolve, 1));
      if (kill % 7 === 3) {
        // Some kills hit a flush under way.
        void call(cluster.url, "Flush", { collection: "events" }).catch(() => undefined);
      }
      await cluster.crash();
    }
    stopping = true;
    await Promise.all(writers);

    // One row behind all others in each shard: whatever is there twice has come before both.
    const last = [{ n: -1 }, { n: -2 }];
    await call(cluster.url, "Insert", { collection: "events", rows: last });
    let ends = 0;
    const tailed = await tailUntil(cluster.url, "events", (rows) => {
      if (Number(rows.at(-1)?.n) < 0) ends++;
      return ends === last.length;
    });
    const numbers = tailed.map((row) => Number(row.n));
    expect(numbers.length, `seed ${seed}`).toBe(acknowledged + last.length);
    expect(new Set(numbers).size, `seed ${seed}`).toBe(acknowledged + last.length);

    const flushed = await run(["flush", "events", "--server", cluster.url]);
    expect(flushed.code, flushed.stderr).toBe(0);
    const described = await call(cluster.url, "DescribeCollection", { name: "events" });
    const { tablePath } = described.collection as { tablePath: string };
    const store = await createFileObjectStore({ dir: storeFolder });
    const files = await downloadTable(store, tablePath, join(temp.path, "copy"));
    const [counts] = await query(
      `SELECT count(*) AS rows, count(DISTINCT n) AS different, count(DISTINCT id) AS ids
       FROM ${parquet(files.committed)} WHERE n >= 0`,
    );
    const all = String(acknowledged);
    expect(counts, `seed ${seed}`).toEqual({ rows: all, different: all, ids: all });
  } finally {
    await cluster.stop();
  }
});
