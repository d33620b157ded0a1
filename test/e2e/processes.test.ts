import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createFileObjectStore } from "@millrace/storage/file";
import { expect, test } from "vitest";
import { call, callUntilDone } from "../harness/client.ts";
import { startProcesses } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { downloadTable, parquet, query } from "../harness/table.ts";
import { tailRows } from "../harness/tail.ts";
import { createTempFolder } from "../harness/temp.ts";

test("coord, two nodes and a proxy: rows go on over the kill of a node, each exactly once", {
  timeout: 180_000,
}, async () => {
  await using temp = await createTempFolder();
  const storeFolder = join(temp.path, "store");
  await mkdir(storeFolder);
  const cluster = await startProcesses({
    folder: temp.path,
    store: ["--store", `file:${storeFolder}`],
  });
  try {
    await call(cluster.url, "CreateCollection", {
      name: "orders",
      shards: 4,
      schema: {
        fields: [
          { name: "id", type: "DATA_TYPE_VARCHAR", primaryKey: true, maxLength: 64 },
          { name: "n", type: "DATA_TYPE_INT32" },
        ],
      },
    });
    const batches = 60;
    let crashed: Promise<void> | undefined;
    for (let batch = 0; batch < batches; batch++) {
      const rows = Array.from({ length: 100 }, (_, index) => ({
        id: `order-${batch}-${index}`,
        n: batch * 100 + index,
      }));
      const idempotencyKey = `orders/${batch}`;
      await callUntilDone(cluster.url, "Insert", { collection: "orders", rows, idempotencyKey });
      if (batch === 20) crashed = cluster.crash();
    }
    await crashed;

    const all = batches * 100;
    const tailed = await tailRows(cluster.url, "orders", all);
    expect(new Set(tailed.map((row) => row.id)).size).toBe(all);

    const flushed = await run(["flush", "orders", "--server", cluster.url]);
    expect(flushed.code, flushed.stderr).toBe(0);
    const described = await call(cluster.url, "DescribeCollection", { name: "orders" });
    const { tablePath } = described.collection as { tablePath: string };
    const store = await createFileObjectStore({ dir: storeFolder });
    const files = await downloadTable(store, tablePath, join(temp.path, "copy"));
    const [counts] = await query(
      `SELECT count(*) AS rows, count(DISTINCT id) AS ids, sum(n) AS sum
       FROM ${parquet(files.committed)}`,
    );
    const sum = String((all * (all - 1)) / 2);
    expect(counts).toEqual({ rows: String(all), ids: String(all), sum });

    const status = await run(["status", "--json", "--server", cluster.url]);
    expect(status.code, status.stderr).toBe(0);
    expect(JSON.parse(status.stdout)).toMatchObject({ collections: 1 });
  } finally {
    expect(await cluster.stop()).toEqual([0, 0, 0, 0]);
  }
});
