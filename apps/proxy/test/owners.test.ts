import { fromBinary } from "@bufbuild/protobuf";
import { MillraceError, pchannelOf } from "@millrace/types";
import { ColumnBatchSchema, DataType, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { type Cluster, type ClusterOptions, startCluster } from "./cluster.ts";

const schema = { fields: [{ name: "id", type: DataType.INT64, primaryKey: true }] };
const rows = [{ id: 1 }, { id: 2 }, { id: 3 }];

async function start(options?: ClusterOptions) {
  const cluster = await startCluster(options);
  const { collection } = await cluster.client.createCollection({ name: "c", schema });
  const vchannel = collection?.vchannels[0] ?? "";
  return { cluster, vchannel, pchannel: pchannelOf(vchannel) };
}

async function countRows(cluster: Cluster, vchannel: string): Promise<number> {
  const inserts = (await cluster.log(vchannel)).filter(({ type }) => type === MessageType.INSERT);
  return inserts.reduce((sum, { payload }) => sum + fromBinary(ColumnBatchSchema, payload).rows, 0);
}

/** Lets a call go on until it settles, by moving time. */
async function finish<T>(cluster: Cluster, call: Promise<T>): Promise<T> {
  let settled = false;
  const done = call.finally(() => {
    settled = true;
  });
  done.catch(() => undefined);
  for (let step = 0; step < 5000 && !settled; step++) await cluster.clock.advance(10);
  return done;
}

test("an insert follows its pchannel to the new owner, and the move is reported", async () => {
  const { cluster, vchannel, pchannel } = await start();
  await cluster.move(pchannel, 1, { announce: false });
  const call = cluster.client.insert({ collection: "c", rows });
  await cluster.until(() => cluster.reports.length > 0);
  expect(cluster.reports.slice(0, 1)).toMatchObject([
    { pchannel: { name: pchannel, term: 1n }, code: "CHANNEL_NOT_EXIST" },
  ]);
  cluster.announce();
  expect(await finish(cluster, call)).toMatchObject({ rows: 3, duplicate: false });
  expect(await countRows(cluster, vchannel)).toBe(3);
});

test("an answer that is lost does not write twice, also without a key of the caller", async () => {
  const { cluster, vchannel, pchannel } = await start();
  cluster.nodes[0].after = () => {
    throw new MillraceError("UNAVAILABLE", "reset", { maybeApplied: true });
  };
  const call = cluster.client.insert({ collection: "c", rows });
  await cluster.until(() => cluster.nodes[0].appends.length > 1);
  await cluster.move(pchannel, 1);
  expect(await finish(cluster, call)).toMatchObject({ rows: 3, duplicate: false });
  expect(await countRows(cluster, vchannel)).toBe(3);
});

test("a channel that nobody owns is UNAVAILABLE after the timeout, and was not written", async () => {
  const { cluster } = await start({ limits: { ownerTimeoutMs: 2000 } });
  cluster.announce({ nodes: [] });
  await cluster.clock.advance(1);
  const began = cluster.clock.monotonic();
  await expect(
    finish(cluster, cluster.client.insert({ collection: "c", rows })),
  ).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true, maybeApplied: false });
  expect(cluster.clock.monotonic() - began).toBeLessThan(2100);
});

test("an owner that never answers is UNAVAILABLE after the timeout, of unknown outcome", async () => {
  const { cluster } = await start({ limits: { ownerTimeoutMs: 2000 } });
  cluster.nodes[0].before = () => new Promise(() => undefined);
  await expect(
    finish(cluster, cluster.client.insert({ collection: "c", rows })),
  ).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: true });
});

test("retries pause, so that an owner which fails at once is not asked without end", async () => {
  const { cluster } = await start({ limits: { ownerTimeoutMs: 10_000 } });
  cluster.nodes[0].before = () => {
    throw new MillraceError("CHANNEL_FENCED", "moving");
  };
  const call = cluster.client.insert({ collection: "c", rows });
  await expect(finish(cluster, call)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(cluster.nodes[0].appends.length).toBeLessThan(60);
});

test("while an owner fails, one call tries and the others wait; then all go on", async () => {
  const { cluster, vchannel } = await start();
  let failing = true;
  cluster.nodes[0].before = () => {
    if (failing) throw new MillraceError("CHANNEL_FENCED", "moving");
  };
  const calls = Array.from({ length: 50 }, () => cluster.client.insert({ collection: "c", rows }));
  for (const call of calls) call.catch(() => undefined);
  await cluster.until(() => cluster.nodes[0].appends.length >= 50);
  await cluster.clock.advance(5000);
  expect(cluster.nodes[0].appends.length).toBeLessThan(90);
  failing = false;
  await finish(cluster, Promise.all(calls));
  expect(await countRows(cluster, vchannel)).toBe(150);
});

test("a call that tried for others and gave up does not leave them waiting", async () => {
  const { cluster } = await start();
  let failing = true;
  cluster.nodes[0].before = () => {
    if (failing) throw new MillraceError("CHANNEL_FENCED", "moving");
  };
  const controller = new AbortController();
  const { signal } = controller;
  const first = cluster.client.insert({ collection: "c", rows }, { signal });
  first.catch(() => undefined);
  await cluster.until(() => cluster.nodes[0].appends.length > 2);
  const second = cluster.client.insert({ collection: "c", rows });
  await cluster.clock.advance(500);
  controller.abort();
  failing = false;
  expect((await finish(cluster, second)).rows).toBe(3);
});

test("a caller that gives up ends the retries", async () => {
  const { cluster } = await start();
  cluster.nodes[0].before = () => {
    throw new MillraceError("CHANNEL_FENCED", "moving");
  };
  const controller = new AbortController();
  const call = cluster.client.insert({ collection: "c", rows }, { signal: controller.signal });
  call.catch(() => undefined);
  await cluster.clock.advance(500);
  controller.abort();
  await expect(call).rejects.toMatchObject({ code: "CANCELLED" });
  const tries = cluster.nodes[0].appends.length;
  await cluster.clock.advance(10_000);
  expect(cluster.nodes[0].appends.length).toBe(tries);
});

test("an overloaded owner is passed on, not retried", async () => {
  const { cluster } = await start();
  cluster.nodes[0].before = () => {
    throw new MillraceError("RESOURCE_EXHAUSTED", "full", { retryAfterMs: 40 });
  };
  await expect(cluster.client.insert({ collection: "c", rows })).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    retryAfterMs: 40,
  });
  expect(cluster.nodes[0].appends).toHaveLength(1);
});

test("a lower version is dropped; a higher coordinator wins over a higher revision", async () => {
  const { cluster } = await start();
  cluster.announce({ revision: 500n });
  cluster.announce({ revision: 499n, nodes: [] });
  await cluster.clock.advance(1);
  expect((await cluster.client.insert({ collection: "c", rows })).rows).toBe(3);
  cluster.announce({ coordinator: 2n, revision: 1n, nodes: [] });
  await cluster.clock.advance(1);
  const controller = new AbortController();
  const stuck = cluster.client.insert({ collection: "c", rows }, { signal: controller.signal });
  stuck.catch(() => undefined);
  await cluster.clock.advance(1000);
  controller.abort();
  await expect(stuck).rejects.toMatchObject({ code: "CANCELLED" });
});

test("writes go on while the coordinator is away, and its stream is taken up again", async () => {
  const { cluster, pchannel } = await start();
  cluster.cutDiscovery();
  expect((await cluster.client.insert({ collection: "c", rows })).rows).toBe(3);
  await cluster.move(pchannel, 1);
  await cluster.clock.advance(5000);
  expect((await cluster.client.insert({ collection: "c", rows })).rows).toBe(3);
  expect(cluster.nodes[1].appends).toHaveLength(1);
});

test("close fails what is under way with ON_SHUTDOWN and leaves no timer", async () => {
  const { cluster } = await start();
  cluster.nodes[0].before = () => new Promise(() => undefined);
  const call = cluster.client.insert({ collection: "c", rows });
  call.catch(() => undefined);
  await cluster.clock.advance(10);
  await cluster.proxy.close();
  await expect(call).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
  // Their time goes on by itself.
  for (const node of cluster.nodes) await node.closeAll();
  await cluster.clock.advance(1);
  expect(cluster.clock.pending).toBe(0);
});
