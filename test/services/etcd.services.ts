import { createEtcdMetaStore } from "@millrace/storage";
import { systemClock, systemRandom } from "@millrace/types/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { call, callUntilDone } from "../harness/client.ts";
import { freePort, startProcesses } from "../harness/cluster.ts";
import { expectFailover } from "../harness/failover.ts";
import { run, startService } from "../harness/process.ts";
import { tailRows } from "../harness/tail.ts";
import { createTempFolder } from "../harness/temp.ts";
import { type EtcdServer, startEtcd } from "./etcd.ts";

let etcd: EtcdServer;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd?.stop());

const metaAt = (prefix: string): string =>
  `etcd://${new URL(etcd.endpoints[0] ?? "").host}/${prefix}`;

test("rows go on over kill -9 of etcd, of a node and of the coordinator, each exactly once", async () => {
  await using temp = await createTempFolder();
  const cluster = await startProcesses({ folder: temp.path, meta: metaAt("cluster") });
  try {
    await call(cluster.url, "CreateCollection", {
      name: "orders",
      shards: 4,
      schema: { fields: [{ name: "id", type: "DATA_TYPE_INT64", primaryKey: true }] },
    });
    const faults = new Map<number, () => Promise<void>>([
      [
        10,
        async () => {
          await etcd.kill();
          await etcd.start();
        },
      ],
      [25, cluster.crash],
      [
        40,
        async () => {
          const [coord] = cluster.services;
          await coord?.kill();
          const { port } = new URL(coord?.url ?? "");
          const args = ["coord", "--listen", `127.0.0.1:${port}`, "--meta", metaAt("cluster")];
          cluster.services[0] = await startService(args);
        },
      ],
    ]);
    const underWay: Promise<void>[] = [];
    const [batches, perBatch] = [60, 50];
    for (let batch = 0; batch < batches; batch++) {
      const fault = faults.get(batch);
      if (fault) underWay.push(fault());
      const rows = Array.from({ length: perBatch }, (_, i) => ({ id: batch * perBatch + i }));
      const idempotencyKey = `orders/${batch}`;
      await callUntilDone(cluster.url, "Insert", { collection: "orders", rows, idempotencyKey });
    }
    await Promise.all(underWay);
    await callUntilDone(cluster.url, "CreateCollection", {
      name: "after",
      shards: 1,
      schema: { fields: [{ name: "id", type: "DATA_TYPE_INT64", primaryKey: true }] },
    });

    const all = batches * perBatch;
    const tailed = await tailRows(cluster.url, "orders", all);
    expect(new Set(tailed.map((row) => row.id)).size).toBe(all);
  } finally {
    expect(await cluster.stop()).toEqual([0, 0, 0, 0]);
  }
  // Who stopped has given up the lead, so that the next need not wait.
  const meta = createEtcdMetaStore({
    ...{ endpoints: etcd.endpoints, prefix: "cluster" },
    ...{ clock: systemClock, random: systemRandom },
  });
  expect(await meta.get("coord/active")).toBeUndefined();
  expect((await meta.list("")).length).toBeGreaterThan(0);
  await meta.close();
});

test("another coordinator takes over from one that is killed, and from one that is paused", async () => {
  await using temp = await createTempFolder();
  await expectFailover({ folder: temp.path, meta: metaAt("failover") });
});

test("a coordinator whose user etcd does not know says so in one line, without the password", async () => {
  const port = await freePort();
  const args = ["coord", "--listen", `127.0.0.1:${port}`, "--meta", metaAt("refused")];
  const password = "not-to-be-shown";

  await etcd.ask("auth/user/add", { name: "root", password: "other" });
  await etcd.ask("auth/role/add", { name: "root" });
  await etcd.ask("auth/user/grant", { user: "root", role: "root" });
  await etcd.ask("auth/enable", {});
  const env = { MILLRACE_ETCD_USER: "root", MILLRACE_ETCD_PASSWORD: password };
  const result = await run(args, { env });
  expect(result.code).toBe(1);
  expect(result.stderr.trim().split("\n")).toHaveLength(1);
  expect(result.stderr).toContain("check the user's name and password");
  expect(result.stderr).not.toContain(password);
});
