import { pchannelOf } from "@millrace/types";
import { MessageType, TailFrom, type TailPosition } from "@millrace/types/gen";
import { expect, test } from "vitest";
import type { Cluster } from "./cluster.ts";
import { insert, insertDuring, openTail, schema, start } from "./tails.ts";

test("what was written and what is written arrives once, in tick order", async () => {
  const { cluster } = await start();
  await insert(cluster, 1, 2);
  const tail = openTail(cluster);
  await tail.until(() => tail.ids().length === 2);
  for (let id = 3; id < 20; id++) await insert(cluster, id);
  await tail.until(() => tail.ids().length === 19);
  expect(tail.ids()).toEqual(Array.from({ length: 19 }, (_, i) => i + 1));
  expect(tail.messages()[0]).toMatchObject({ type: MessageType.INSERT, partition: "_default" });
  const ticks = tail.messages().map(({ position }) => position?.tick ?? 0n);
  expect(ticks).toEqual([...ticks].sort((a, b) => (a < b ? -1 : 1)));
});

test("a tail begins with a heartbeat when it is in place, and gives signs of life", async () => {
  const { cluster } = await start(2);
  const tail = openTail(cluster, { from: TailFrom.LATEST });
  await tail.until(() => tail.events.length === 1);
  expect(tail.events[0]?.case).toBe("heartbeat");
  await cluster.clock.advance(10_000);
  expect(tail.events.length).toBeGreaterThanOrEqual(3);
});

test("there is no sign of life before the stream is in place", async () => {
  const { cluster } = await start(2);
  cluster.announce({ nodes: [] });
  const tail = openTail(cluster, { from: TailFrom.LATEST });
  await cluster.clock.advance(10_000);
  expect(tail.events).toEqual([]);
  cluster.announce();
  await tail.until(() => tail.events.length > 0);
});

test("latest delivers what is acknowledged after the first heartbeat, and nothing before", async () => {
  const { cluster } = await start(2);
  await insert(cluster, 1, 2, 3);
  const tail = openTail(cluster, { from: TailFrom.LATEST });
  await tail.until(() => tail.events.length > 0);
  await insert(cluster, 4, 5);
  await tail.until(() => tail.ids().length === 2);
  expect(tail.ids().sort()).toEqual([4, 5]);
});

test("only the collection's own messages arrive, although others share its pchannel", async () => {
  const { cluster } = await start();
  await cluster.client.createCollection({ name: "other", schema });
  const tail = openTail(cluster);
  await cluster.client.insert({ collection: "other", rows: [{ id: 9 }] });
  await insert(cluster, 1);
  await tail.until(() => tail.ids().length > 0);
  expect(tail.ids()).toEqual([1]);
});

test("deletes arrive as keys, and partitions are named, also those created meanwhile", async () => {
  const { cluster } = await start();
  const tail = openTail(cluster);
  const keys = [{ kind: { case: "numberValue" as const, value: 7 } }];
  await cluster.client.delete({ collection: "c", keys });
  await tail.until(() => tail.messages().length === 1);
  expect(tail.messages()[0]).toMatchObject({ type: MessageType.DELETE, rows: [{ id: 7 }] });
});

test("columns arrive where JSON is not asked for", async () => {
  const { cluster } = await start();
  await insert(cluster, 1);
  const tail = openTail(cluster, { json: false });
  await tail.until(() => tail.messages().length === 1);
  expect(tail.messages()[0]).toMatchObject({ rows: [], columns: { rows: 1 } });
});

test.each([TailFrom.EARLIEST, TailFrom.LATEST])(
  "a tail from %s goes on at a new owner, without loss or repeats",
  async (from) => {
    const { cluster, pchannel } = await start();
    const tail = openTail(cluster, { from });
    await tail.until(() => tail.events.length > 0);
    // Moved before anything was received: written meanwhile, delivered all the same.
    await cluster.move(pchannel, 1, { announce: false });
    cluster.announce();
    await insertDuring(cluster, 1);
    await tail.until(() => tail.ids().length === 1);
    for (let id = 2; id <= 8; id++) {
      await cluster.move(pchannel, (id % 2) as 0 | 1);
      await insertDuring(cluster, id);
      await insertDuring(cluster, id + 100);
    }
    await tail.until(() => tail.ids().length === 15);
    await cluster.clock.advance(1000);
    const expected = [1, ...Array.from({ length: 7 }, (_, i) => [i + 2, i + 102]).flat()];
    expect(tail.ids()).toEqual(expected);
  },
);

test("a tail goes on where another one ended, by the positions it got", async () => {
  const { cluster } = await start(2);
  for (let id = 0; id < 10; id++) await insert(cluster, id);
  const first = openTail(cluster);
  await first.until(() => first.ids().length === 10);
  first.abort();
  // As a client would that has handled six messages.
  const handled = first.messages().slice(0, 6);
  const positions = new Map<string, TailPosition>();
  for (const { position } of handled) if (position) positions.set(position.vchannel, position);
  const second = openTail(cluster, { positions: [...positions.values()] });
  await second.until(() => second.ids().length === 4);
  await cluster.clock.advance(1000);
  const ids = [...handled.flatMap(({ rows }) => rows.map(({ id }) => Number(id))), ...second.ids()];
  expect(ids.map(Number).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("a position that was truncated is OUT_OF_RANGE, and one of another collection is refused", async () => {
  const { cluster, vchannels, pchannel } = await start();
  for (let id = 0; id < 5; id++) await insert(cluster, id);
  await cluster.nodes[0].wal(pchannel)?.truncate(4);
  await cluster.move(pchannel, 1);
  const [vchannel = ""] = vchannels;
  const position = { vchannel, id: { sequence: 1n, index: 0 }, tick: 1n };
  await expect(openTail(cluster, { positions: [position] }).ended).rejects.toMatchObject({
    code: "OUT_OF_RANGE",
  });
  const foreign = { ...position, vchannel: "test-dml_0_999v0" };
  await expect(openTail(cluster, { positions: [foreign] }).ended).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "positions[0].vchannel",
  });
  const { tick: _, ...half } = position;
  await expect(openTail(cluster, { positions: [half] }).ended).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "positions[0].tick",
  });
});

test("a quiet tail survives that its place was truncated, as long as it missed nothing", async () => {
  const { cluster, pchannel } = await start();
  await cluster.client.createCollection({ name: "busy", schema });
  const busy = (id: number) => cluster.client.insert({ collection: "busy", rows: [{ id }] });
  await insert(cluster, 1);
  const tail = openTail(cluster);
  await tail.until(() => tail.ids().length === 1);
  for (let id = 0; id < 5; id++) await busy(id);
  await cluster.clock.advance(3000);
  const wal = cluster.nodes[0].wal(pchannel);
  await wal?.truncate(wal.bounds().next);
  await cluster.move(pchannel, 1);
  await insertDuring(cluster, 2);
  await tail.until(() => tail.ids().length === 2);
  expect(tail.ids()).toEqual([1, 2]);
});

test("a tail that may have missed something to truncation fails, rather than skip it", async () => {
  const { cluster, pchannel } = await start();
  await insert(cluster, 1);
  const tail = openTail(cluster);
  await tail.until(() => tail.ids().length === 1);
  await cluster.move(pchannel, 1, { announce: false });
  const wal = cluster.nodes[1].wal(pchannel);
  const vchannel = tail.messages()[0]?.position?.vchannel ?? "";
  const message = { type: 3, vchannel, header: new Uint8Array(0), payload: new Uint8Array(0) };
  await wal?.append([message]);
  await wal?.append([message]);
  await wal?.truncate(wal.bounds().next);
  await cluster.move(pchannel, 0);
  await cluster.until(() => cluster.nodes[0].consumers() > 0).catch(() => undefined);
  await expect(tail.ended).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
});

test("the end of the collection ends the tail", async () => {
  const { cluster } = await start(2);
  await insert(cluster, 1);
  const tail = openTail(cluster);
  await tail.until(() => tail.ids().length === 1);
  await cluster.dropCollection("c");
  await tail.ended;
  expect(tail.ids()).toEqual([1]);
  await cluster.until(() => cluster.nodes.every((node) => node.consumers() === 0));
});

test("a client that goes away leaves no stream and no timer", async () => {
  const { cluster } = await start(4);
  const tail = openTail(cluster);
  await tail.until(() => tail.events.length > 0);
  expect(cluster.nodes.map((node) => node.consumers())).toEqual([2, 2]);
  const before = cluster.clock.pending;
  tail.abort();
  await expect(tail.ended).rejects.toMatchObject({ code: "CANCELLED" });
  await cluster.clock.advance(1);
  expect(cluster.nodes.map((node) => node.consumers())).toEqual([0, 0]);
  expect(cluster.clock.pending).toBeLessThan(before);
});

test("a client that does not read stops the reading ahead", async () => {
  const { cluster } = await start(1, { limits: { tailBytes: 100_000 } });
  const text = "x".repeat(50_000);
  for (let id = 0; id < 40; id++) {
    await cluster.client.insert({ collection: "c", rows: [{ id, text }] });
  }
  const controller = new AbortController();
  const request = { collection: "c", from: TailFrom.EARLIEST };
  const stream = cluster.client.tail(request, { signal: controller.signal });
  const iterator = stream[Symbol.asyncIterator]();
  await iterator.next();
  await cluster.clock.advance(1000);
  await cluster.move(pchannelOf((await describe(cluster))[0] ?? ""), 1);
  await cluster.clock.advance(1000);
  let rows = 0;
  while (rows < 39) {
    const { value } = await iterator.next();
    if (value?.event.case === "message") rows += value.event.value.columns?.rows ?? 0;
  }
  controller.abort();
});

async function describe(cluster: Cluster): Promise<string[]> {
  return (await cluster.client.describeCollection({ name: "c" })).collection?.vchannels ?? [];
}

test("a tail from the latest place goes on where a heartbeat says, although no message had come", async () => {
  const { cluster } = await start(2);
  await insert(cluster, 1, 2, 3, 4);
  const first = openTail(cluster, { from: TailFrom.LATEST });
  await first.until(() => first.events.length > 0);
  const positions = first.events.flatMap((event) =>
    event.case === "heartbeat" ? event.value.positions : [],
  );
  expect(new Set(positions.map(({ vchannel }) => vchannel)).size).toBe(2);
  first.abort();
  await insert(cluster, 5, 6, 7, 8);
  const second = openTail(cluster, { from: TailFrom.LATEST, positions });
  await second.until(() => second.ids().length === 4);
  expect(second.ids().toSorted()).toEqual([5, 6, 7, 8]);
});

test("an unknown collection is refused", async () => {
  const { cluster } = await start();
  await expect(openTail(cluster, { collection: "none" }).ended).rejects.toMatchObject({
    code: "COLLECTION_NOT_FOUND",
  });
});

test("close ends tails", async () => {
  const { cluster } = await start();
  const tail = openTail(cluster);
  await tail.until(() => tail.events.length > 0);
  await cluster.proxy.close();
  await expect(tail.ended).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
});
