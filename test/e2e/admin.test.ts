import { expect, test } from "vitest";
import { call } from "../harness/client.ts";
import { startProcesses } from "../harness/cluster.ts";
import { run } from "../harness/process.ts";
import { tailRows } from "../harness/tail.ts";
import { createTempFolder } from "../harness/temp.ts";

interface NodeState {
  nodeId: string;
  frozen: boolean;
  pchannels: number;
}

interface PchannelState {
  name: string;
  nodeId: string;
  vchannels: number;
  transferred: boolean;
}

test("pchannels are transferred, and nodes frozen and drained, under a running insert: no request fails", {
  timeout: 180_000,
}, async () => {
  await using temp = await createTempFolder();
  const cluster = await startProcesses({ folder: temp.path });
  const admin = async (...args: string[]): Promise<unknown> => {
    const ran = await run(["admin", ...args, "--json", "--server", cluster.url]);
    expect(ran.code, ran.stderr).toBe(0);
    return JSON.parse(ran.stdout);
  };
  const channels = async () => {
    const all = (await admin("channels")) as PchannelState[];
    return all.filter((channel) => channel.vchannels > 0);
  };
  const until = async (what: string, so: () => Promise<boolean>): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (!(await so())) if (performance.now() > deadline) throw new Error(`never: ${what}`);
  };
  try {
    const [first = "", second = ""] = ((await admin("nodes")) as NodeState[]).map((n) => n.nodeId);
    await call(cluster.url, "CreateCollection", {
      name: "orders",
      shards: 2,
      schema: {
        fields: [{ name: "id", type: "DATA_TYPE_VARCHAR", primaryKey: true, maxLength: 64 }],
      },
    });

    let inserting = true;
    let longest = 0;
    const insert = async (writer: number): Promise<number> => {
      let rows = 0;
      while (inserting) {
        const began = performance.now();
        const ids = Array.from({ length: 20 }, () => ({ id: `order-${writer}-${rows++}` }));
        await call(cluster.url, "Insert", { collection: "orders", rows: ids });
        longest = Math.max(longest, performance.now() - began);
      }
      return rows;
    };
    const writers = [0, 1, 2].map(insert);
    const written = Promise.all(writers);
    written.catch(() => undefined);

    for (const { name, nodeId } of await channels()) {
      await admin("transfer", name, nodeId === first ? second : first);
    }
    const moved = await channels();
    expect(moved.map((channel) => channel.transferred)).toEqual([true, true]);

    await admin("freeze", first);
    await until("the frozen node is empty", async () => {
      const nodes = (await admin("nodes")) as NodeState[];
      return nodes.some((n) => n.nodeId === first && n.frozen && n.pchannels === 0);
    });
    const refused = await run(["admin", "freeze", second, "--server", cluster.url]);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining(`node ${second} is the last that can take pchannels`),
    ]);
    const back = moved[0]?.name ?? "";
    const tooEarly = await run(["admin", "transfer", back, first, "--server", cluster.url]);
    expect([tooEarly.code, tooEarly.stderr]).toEqual([1, expect.stringContaining("is frozen")]);
    await admin("unfreeze", first);
    await admin("transfer", back, first);
    expect(await cluster.services[1]?.stop()).toBe(0);
    const held = ((await admin("nodes")) as NodeState[]).map((n) => n.pchannels);
    expect(held.toSorted((a, b) => a - b)).toEqual([0, 16]);

    inserting = false;
    const all = (await written).reduce((sum, rows) => sum + rows, 0);
    console.info(`${all} rows, longest request ${longest.toFixed(0)} ms`);
    const tailed = await tailRows(cluster.url, "orders", all);
    expect(new Set(tailed.map((row) => row.id)).size).toBe(all);
  } finally {
    expect(await cluster.stop()).toEqual([0, 0, 0, 0]);
  }
});
