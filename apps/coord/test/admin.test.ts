import { type BalancePolicy, pchannelFair } from "@millrace/balancer";
import { expect, test } from "vitest";
import { createCluster, type RunningCoord, schemaOf } from "./cluster.ts";

const names = [0, 1, 2, 3].map((index) => `millrace-dml_${index}`);

/** Two nodes that have two pchannels each. */
async function setUp(options: Parameters<ReturnType<typeof createCluster>["startCoord"]>[0] = {}) {
  const cluster = createCluster();
  const coord = await cluster.startCoord(options);
  const a = cluster.startNode("a");
  const b = cluster.startNode("b");
  await cluster.assigned();
  await cluster.advance(100);
  const status = (of: RunningCoord) => cluster.settle(of.admin.getClusterStatus({}));
  return { cluster, coord, a, b, status };
}

test("a node is frozen and unfrozen, over a restart of the coordinator, and status says so", async () => {
  const { cluster, coord, a, b, status } = await setUp();
  await cluster.settle(coord.admin.freezeNode({ nodeId: "a" }));
  await cluster.advance(500);
  expect([a.held.size, b.held.size]).toEqual([0, 4]);
  await coord.crash();
  const next = await cluster.startCoord();
  await cluster.advance(10_000);
  expect([a.held.size, b.held.size]).toEqual([0, 4]);
  const flags = (await status(next)).nodes.map((n) => [n.nodeId, n.alive, n.frozen, n.pchannels]);
  expect(flags).toEqual([
    ["a", true, true, 0],
    ["b", true, false, 4],
  ]);
  await expect(cluster.settle(next.admin.freezeNode({ nodeId: "b" }))).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    field: "node_id",
  });
  a.dead = true;
  await cluster.advance(10_000);
  // It would come back frozen.
  const gone = (await status(next)).nodes.find((n) => n.nodeId === "a");
  expect(gone).toMatchObject({ alive: false, frozen: true, address: "" });
  await cluster.settle(next.admin.unfreezeNode({ nodeId: "a" }));
  expect((await status(next)).nodes.map((n) => n.nodeId)).toEqual(["b"]);
  await next.close();
});

test("a pchannel is transferred, stays, and status says when it was assigned", async () => {
  const { cluster, coord, a, b, status } = await setUp();
  const [name = ""] = a.held.keys();
  const answer = await cluster.settle(
    coord.admin.transferPchannel({ pchannel: name, nodeId: "b" }),
  );
  expect(answer.term).toBe(2n);
  expect(b.held.get(name)).toBe(2);
  expect(a.held.has(name)).toBe(false);
  await cluster.advance(600_000);
  expect(b.held.get(name)).toBe(2);
  const pchannel = (await status(coord)).pchannels.find((p) => p.name === name);
  expect(pchannel).toMatchObject({ nodeId: "b", term: 2n, transferred: true, formerNodeIds: [] });
  const age = cluster.clock.now() - Number(pchannel?.assignedMs);
  expect(Math.abs(age - 600_000)).toBeLessThan(2000);
  await coord.close();
});

test("what is not there, frozen, draining or dead is refused", async () => {
  const { cluster, coord, a, b } = await setUp();
  const c = cluster.startNode("c");
  const d = cluster.startNode("d");
  await cluster.advance(1000);
  await cluster.settle(coord.admin.freezeNode({ nodeId: "b" }));
  c.draining = true;
  d.dead = true;
  await cluster.advance(10_000);
  const [pchannel = ""] = a.held.keys();
  expect(b.held.size).toBe(0);
  for (const [request, code, text] of [
    [{ pchannel: "nope", nodeId: "a" }, "INVALID_ARGUMENT", names.join(", ")],
    [{ pchannel, nodeId: "nope" }, "INVALID_ARGUMENT", "known: a, b, c"],
    [{ pchannel, nodeId: "b" }, "PRECONDITION_FAILED", "frozen"],
    [{ pchannel, nodeId: "c" }, "PRECONDITION_FAILED", "draining"],
    [{ pchannel, nodeId: "d" }, "INVALID_ARGUMENT", "known: a, b, c"],
  ] as const) {
    await expect(cluster.settle(coord.admin.transferPchannel(request))).rejects.toMatchObject({
      code,
      message: expect.stringContaining(text),
    });
  }
  await coord.close();
});

test("the policy is chosen by name and kept; one of the user's own may be among them", async () => {
  const mine: BalancePolicy = {
    name: "all-on-the-first",
    plan: ({ nodes, pchannels }) =>
      pchannels
        .filter((pchannel) => !pchannel.pinned)
        .map(({ name }) => ({ pchannel: name, to: nodes[0] ?? "" })),
  };
  const policies = [pchannelFair(), mine];
  const { cluster, coord, a, status } = await setUp({ balancer: { policies } });
  const answer = await cluster.settle(coord.admin.updateBalancePolicy({ policy: mine.name }));
  expect(answer.balance).toMatchObject({
    policy: "all-on-the-first",
    allowRebalance: true,
    policies: ["pchannel-fair", "all-on-the-first"],
  });
  await cluster.advance(500);
  expect(a.held.size).toBe(4);
  await cluster.settle(coord.admin.updateBalancePolicy({ allowRebalance: false }));
  await coord.crash();
  const next = await cluster.startCoord({ balancer: { policies } });
  expect((await status(next)).balance).toMatchObject({
    policy: "all-on-the-first",
    allowRebalance: false,
  });
  await expect(
    cluster.settle(next.admin.updateBalancePolicy({ policy: "fairest" })),
  ).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "policy",
    message: expect.stringContaining("pchannel-fair, all-on-the-first"),
  });
  await next.close();
});

test("pchannels with shards are moved to a new node when their owner has caught up, not before", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord({ balancer: { minRebalanceIntervalMs: 0 } });
  const a = cluster.startNode("a");
  a.lagMs = 1500;
  await cluster.assigned();
  await cluster.settle(
    coord.catalog.catalogCreateCollection({ name: "goods", schema: schemaOf(), shards: 4 }),
  );
  await cluster.advance(11_000);
  const b = cluster.startNode("b");
  await cluster.advance(130_000);
  expect(b.held.size).toBe(0);
  a.lagMs = 900;
  await cluster.advance(130_000);
  expect(b.held.size).toBe(2);
  await coord.close();
});

test("a cluster may be started with more pchannels, not with fewer", async () => {
  const { cluster, coord, a, b } = await setUp();
  await coord.crash();
  const more = await cluster.startCoord({ pchannels: 6 });
  await cluster.until("six are assigned", () => a.held.size + b.held.size === 6);
  await more.crash();
  await expect(cluster.startCoord({ pchannels: 4 })).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    field: "pchannels",
    message: expect.stringContaining("may be added but not removed"),
  });
});
