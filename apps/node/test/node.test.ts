import type { MessageInitShape } from "@bufbuild/protobuf";
import { createMemoryObjectStore } from "@millrace/storage";
import { controlChannelName, MillraceError } from "@millrace/types";
import { MessageType, type ProduceRequestSchema } from "@millrace/types/gen";
import { createAssembler, type Delivery, decodeBatches } from "@millrace/wal";
import { expect, test } from "vitest";
import { createCluster, pchannel, tableRows, vchannel } from "./support.ts";

test("a node joins, takes a pchannel, appends, and flushes to the table", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  const first = await node.insert(1, [1, 2, 3]);
  const second = await node.insert(1, [4]);
  expect(second.id?.sequence).toBe((first.id?.sequence ?? 0n) + 1n);
  expect(second.firstTick).toBeGreaterThan(first.lastTick);
  const tick = await node.flush(1);
  await cluster.until(async () => (await node.checkpoint(1)) >= tick);
  expect(await tableRows(cluster.store)).toBe(4);
  await cluster.settle(node.close());
});

test("appends for a pchannel that is not held, or at another term, say so", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await expect(node.insert(1, [1])).rejects.toMatchObject({ code: "CHANNEL_NOT_EXIST" });
  await node.assign(3);
  await expect(node.insert(2, [1])).rejects.toMatchObject({
    code: "UNMATCHED_CHANNEL_TERM",
    expected: "3",
  });
  await expect(node.insert(3, [1])).rejects.toMatchObject({ code: "VCHANNEL_NOT_EXIST" });
  await expect(cluster.settle(node.handler.append({ messages: [] }))).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "pchannel.name",
  });
  await cluster.settle(node.close());
});

test("assigning an older term is ignored, and removing closes only what is as old", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(2);
  await node.assign(2);
  await expect(node.assign(1)).rejects.toMatchObject({ code: "IGNORED_OPERATION", expected: "2" });
  const remove = async (term: bigint): Promise<void> => {
    await cluster.settle(node.manager.remove({ pchannel: { name: pchannel, term } }));
  };
  await remove(1n);
  await node.createCollection(2);
  await remove(2n);
  await expect(node.insert(2, [1])).rejects.toMatchObject({ code: "CHANNEL_NOT_EXIST" });
  await expect(node.assign(2)).rejects.toMatchObject({ code: "IGNORED_OPERATION" });
  await node.assign(3);
  await node.insert(3, [1]);
  await cluster.settle(node.close());
});

test("a retried append with its idempotency key is a duplicate, also at the next owner", async () => {
  const cluster = createCluster();
  const first = cluster.node();
  await cluster.settle(first.start());
  await first.assign(1);
  await first.createCollection(1);
  const written = await first.insert(1, [1], "key");
  expect(await first.insert(1, [1], "key")).toMatchObject({ id: written.id, duplicate: true });
  await cluster.settle(first.close());
  const second = cluster.node({ nodeId: "node-2" });
  await cluster.settle(second.start());
  await second.assign(2);
  expect(await second.insert(2, [1], "key")).toMatchObject({ id: written.id, duplicate: true });
  await cluster.settle(second.close());
});

test("a node that is taken over from closes the pchannel and tells the coordinator", async () => {
  const cluster = createCluster();
  const old = cluster.node();
  await cluster.settle(old.start());
  await old.assign(1);
  await old.createCollection(1);
  const next = cluster.node({ nodeId: "node-2" });
  await cluster.settle(next.start());
  await next.assign(2);
  await next.insert(2, [1]);
  await expect(old.insert(1, [2])).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  await cluster.until(() => cluster.coord.reports.length > 0);
  expect(cluster.coord.reports).toEqual([{ name: pchannel, term: 1n, code: "CHANNEL_FENCED" }]);
  expect((await old.manager.collectStatus({})).wals).toEqual([]);
  const { wals } = await next.manager.collectStatus({});
  expect(wals).toMatchObject([{ name: pchannel, term: 2n, growingRows: 1n, problem: "" }]);
  expect(wals[0]?.lastTick).toBeGreaterThan(0n);
  expect(wals[0]?.readTick).toBe(wals[0]?.lastTick);
  await cluster.settle(Promise.all([old.close(), next.close()]));
});

test("rows that were not flushed by the old owner are flushed by the new one, once", async () => {
  const cluster = createCluster();
  const old = cluster.node();
  await cluster.settle(old.start());
  await old.assign(1);
  await old.createCollection(1);
  await old.insert(1, [1, 2]);
  const tick = await old.flush(1);
  await cluster.until(async () => (await old.checkpoint(1)) >= tick);
  await old.insert(1, [3]);
  await cluster.clock.advance(20_000);
  await old.insert(1, [4]);

  const next = cluster.node({ nodeId: "node-2" });
  await cluster.settle(next.start());
  await next.assign(2);
  await next.insert(2, [5]);
  const last = await next.flush(2);
  await cluster.until(async () => (await next.checkpoint(2)) >= last);
  expect(await tableRows(cluster.store)).toBe(5);
  await cluster.settle(Promise.all([old.close(), next.close()]));
});

test("flushed batches go when they are beyond retention, and never before they are flushed", async () => {
  const cluster = createCluster();
  const node = cluster.node({ retention: { ageMs: 100_000 } });
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  const bounds = async (): Promise<[bigint, bigint]> => {
    const { wals } = await node.manager.collectStatus({});
    return [wals[0]?.firstSequence ?? -1n, wals[0]?.nextSequence ?? -1n];
  };
  for (let round = 0; round < 4; round++) {
    await node.insert(1, [round]);
    await cluster.clock.advance(20_000);
  }
  expect((await bounds())[0]).toBe(0n);
  await cluster.clock.advance(60_000);
  await cluster.clock.advance(60_000);
  const [first, next] = await bounds();
  expect(first).toBeGreaterThan(0n);
  expect(first).toBeLessThanOrEqual(next);
  expect(await tableRows(cluster.store)).toBe(4);
  await cluster.settle(node.close());

  const again = cluster.node();
  await cluster.settle(again.start());
  await again.assign(2);
  await again.insert(2, [9]);
  const tick = await again.flush(2);
  await cluster.until(async () => (await again.checkpoint(2)) >= tick);
  expect(await tableRows(cluster.store)).toBe(5);
  await cluster.settle(again.close());
});

test("a pchannel whose snapshot cannot be reached opens if its log is whole", async () => {
  const base = createMemoryObjectStore();
  let away = false;
  const check = (): void => {
    if (away) throw new MillraceError("UNAVAILABLE", "the store is away");
  };
  const cluster = createCluster({
    ...base,
    async get(...args) {
      check();
      return await base.get(...args);
    },
    async put(...args) {
      check();
      return await base.put(...args);
    },
  });
  const first = cluster.node();
  await cluster.settle(first.start());
  await first.assign(1);
  await first.createCollection(1);
  await first.insert(1, [1]);
  await cluster.settle(first.close());

  away = true;
  const second = cluster.node();
  await cluster.settle(second.start());
  await second.assign(2);
  await second.insert(2, [2]);
  const tick = await second.flush(2);
  await cluster.clock.advance(20_000);
  const { wals } = await second.manager.collectStatus({});
  expect(wals[0]?.problem).toContain("the store is away");
  away = false;
  await cluster.until(async () => (await second.checkpoint(2)) >= tick);
  expect(await tableRows(cluster.store)).toBe(2);
  await cluster.settle(second.close());
});

test("a reader gets every batch, joined, and heartbeats when there are none", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  for (let id = 0; id < 20; id++) await node.insert(1, [id]);
  const stop = new AbortController();
  const responses = node.handler.consume(
    { pchannel: { name: pchannel, term: 1n }, from: { case: "earliest", value: true }, vchannel },
    { signal: stop.signal },
  );
  const iterator = responses[Symbol.asyncIterator]();
  const read = async () => (await cluster.settle(iterator.next())).value;
  expect((await read())?.batches).toHaveLength(0);
  const sequences: number[] = [];
  let messages = 0;
  while (sequences.length < 21) {
    messages++;
    for (const batch of decodeBatches((await read())?.batches ?? new Uint8Array())) {
      if (batch.vchannels.includes(vchannel)) sequences.push(batch.sequence);
    }
  }
  expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
  expect(messages).toBeLessThan(21);
  // The tick that was written behind them is of no vchannel; what it says is told in place of it.
  const [heartbeat, later] = [await read(), await read()];
  expect(heartbeat?.batches).toHaveLength(0);
  expect(heartbeat?.next).toBe(BigInt(sequences.at(-1) ?? 0) + 2n);
  expect(later?.batches).toHaveLength(0);
  expect(later?.tick).toBeGreaterThan(heartbeat?.tick ?? 0n);
  expect(later?.next).toBe(heartbeat?.next);
  stop.abort();
  await expect(cluster.settle(iterator.next())).rejects.toMatchObject({ code: "CANCELLED" });
  await cluster.settle(node.close());
});

test("a reader from the end begins behind the tick that it is told first", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  const before = await node.insert(1, [1]);
  const responses = node.handler.consume({
    pchannel: { name: pchannel, term: 1n },
    from: { case: "latest", value: true },
  });
  const iterator = responses[Symbol.asyncIterator]();
  expect((await cluster.settle(iterator.next())).value?.tick).toBe(before.lastTick);
  const after = await node.insert(1, [2]);
  const { value } = await cluster.settle(iterator.next());
  expect(
    decodeBatches(value?.batches ?? new Uint8Array())
      [Symbol.iterator]()
      .next().value,
  ).toMatchObject({
    firstTick: after.firstTick,
  });
  await cluster.settle(node.close());
  await expect(cluster.settle(iterator.next())).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
});

test("a reader from the end begins with what is open, so that it gets transactions whole", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  const target = { name: pchannel, term: 1n };
  const append = (type: MessageType, txn = 0n) =>
    cluster.settle(node.handler.append({ pchannel: target, messages: [{ type, vchannel }], txn }));
  await node.insert(1, [1]);
  const begun = await append(MessageType.BEGIN_TXN);
  await append(MessageType.DELETE, begun.txn);
  const before = await node.insert(1, [2]);
  const from = { case: "latest" as const, value: true };
  const responses = node.handler.consume({ pchannel: target, from, vchannel });
  const iterator = responses[Symbol.asyncIterator]();
  const read = async () => (await cluster.settle(iterator.next())).value;
  const start = await read();
  expect(start).toMatchObject({ tick: before.lastTick, next: begun.id?.sequence });
  const { lastTick } = await append(MessageType.COMMIT_TXN, begun.txn);
  const assembler = createAssembler();
  const later: Delivery[] = [];
  while (later.length === 0) {
    for (const batch of decodeBatches((await read())?.batches ?? new Uint8Array())) {
      later.push(...assembler.take(batch).filter(({ tick }) => tick > before.lastTick));
    }
  }
  expect(later).toMatchObject([{ tick: lastTick, messages: [{ type: MessageType.DELETE }] }]);
  await cluster.settle(node.close());
});

test("broadcasts are for the control channel, and nothing else is", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  const append = (type: MessageType, to: string) =>
    cluster.settle(
      node.handler.append({
        pchannel: { name: pchannel, term: 1n },
        messages: [{ type, vchannel: to }],
      }),
    );
  const control = controlChannelName(pchannel);
  await append(MessageType.BROADCAST, control);
  for (const [type, to] of [
    [MessageType.BROADCAST, vchannel],
    [MessageType.BROADCAST, ""],
    [MessageType.DROP_COLLECTION, control],
    [MessageType.INSERT, control],
  ] as const) {
    await expect(append(type, to)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "messages[0].vchannel",
    });
  }
  await cluster.settle(node.close());
});

test("a reader is told when what it asks for is gone or does not exist yet", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  const consume = async (
    from: Parameters<typeof node.handler.consume>[0]["from"],
  ): Promise<void> => {
    const responses = node.handler.consume({
      pchannel: { name: pchannel, term: 1n },
      ...(from && { from }),
    });
    for await (const _ of responses);
  };
  await expect(cluster.settle(consume({ case: "sequence", value: 1000n }))).rejects.toMatchObject({
    code: "OUT_OF_RANGE",
  });
  await expect(cluster.settle(consume(undefined))).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    field: "from",
  });
  await cluster.settle(node.close());
});

test("a produce stream answers each append by its id, failures too", async () => {
  const cluster = createCluster();
  const node = cluster.node();
  await cluster.settle(node.start());
  await node.assign(1);
  await node.createCollection(1);
  async function* requests(): AsyncGenerator<MessageInitShape<typeof ProduceRequestSchema>> {
    for (const requestId of [1n, 2n, 3n]) {
      const type = MessageType.DELETE;
      const messages = [{ type, vchannel: requestId === 2n ? "nowhere_1v0" : vchannel }];
      const append = { pchannel: { name: pchannel, term: 1n }, messages };
      yield { requestId, append };
    }
  }
  const answers = new Map<bigint, string>();
  const reading = (async () => {
    for await (const { requestId, result } of node.handler.produce(requests())) {
      answers.set(requestId, result.case === "error" ? result.value.code : (result.case ?? ""));
    }
  })();
  await cluster.settle(reading);
  expect(answers).toEqual(
    new Map([
      [1n, "append"],
      [2n, "VCHANNEL_NOT_EXIST"],
      [3n, "append"],
    ]),
  );
  await cluster.settle(node.close());
});
