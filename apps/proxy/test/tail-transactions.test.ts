import { create, toBinary } from "@bufbuild/protobuf";
import { rowsToColumns, type Tick } from "@millrace/types";
import {
  type Collection,
  ColumnBatchSchema,
  InsertHeaderSchema,
  MessageType,
  TailFrom,
  type TailPosition,
} from "@millrace/types/gen";
import { createSeededRandom } from "@millrace/types/testing";
import type { Wal } from "@millrace/wal";
import { expect, test } from "vitest";
import type { Cluster, ClusterOptions } from "./cluster.ts";
import { insert, openTail, schema, start } from "./tails.ts";

/** Writes to the one vchannel of `c` where its log is owned. */
async function startWriter(options?: ClusterOptions) {
  const { cluster, vchannels, pchannel } = await start(1, options);
  const [vchannel = ""] = vchannels;
  const { collection } = await cluster.client.describeCollection({ name: "c" });
  const wal = (): Wal => {
    const held = cluster.nodes.flatMap((node) => node.wal(pchannel) ?? []);
    if (!held[0]) throw new Error(`${pchannel} has no owner`);
    return held[0];
  };
  return {
    cluster,
    pchannel,
    vchannel,
    wal,
    begin: async (): Promise<Tick> => (await wal().begin({ vchannel })).txn,
    insert: (ids: readonly number[], txn?: Tick) =>
      wal().append(
        ids.map((id) => rowOf(collection, vchannel, id)),
        { txn },
      ),
    commit: (txn: Tick) => wal().commit(txn),
    rollback: (txn: Tick) => wal().rollback(txn),
  };
}

function rowOf(collection: Collection | undefined, vchannel: string, id: number) {
  if (!collection?.schema) throw new Error("the collection has a schema");
  const columns = rowsToColumns(collection.schema, [{ id }], {});
  const partitionId = collection.partitions[0]?.id ?? 0n;
  const header = create(InsertHeaderSchema, { collectionId: collection.id, partitionId, rows: 1 });
  return {
    type: MessageType.INSERT,
    vchannel,
    header: toBinary(InsertHeaderSchema, header),
    payload: toBinary(ColumnBatchSchema, columns),
  };
}

/** Waits for a promise, moving the clock. */
async function settled<T>({ clock }: Cluster, promise: Promise<T>): Promise<T> {
  let done = false;
  const watched = promise.finally(() => {
    done = true;
  });
  watched.catch(() => undefined);
  for (let step = 0; step < 1000 && !done; step++) await clock.advance(10);
  return await watched;
}

/** The positions that heartbeats carried. */
function heartbeats({ events }: ReturnType<typeof openTail>): TailPosition[] {
  return events.flatMap((event) => (event.case === "heartbeat" ? event.value.positions : []));
}

test("messages of a transaction come when it is committed, together, and those rolled back never", async () => {
  const writer = await startWriter();
  const tail = openTail(writer.cluster);
  const [kept, dropped] = [await writer.begin(), await writer.begin()];
  await writer.insert([1, 2], kept);
  await writer.insert([10], dropped);
  await insert(writer.cluster, 3);
  await tail.until(() => tail.ids().length === 1);
  await writer.insert([4], kept);
  await writer.rollback(dropped);
  const { lastTick } = await writer.commit(kept);
  await insert(writer.cluster, 5);
  await tail.until(() => tail.ids().length === 5);
  expect(tail.ids()).toEqual([3, 1, 2, 4, 5]);
  const ticks = tail.messages().map(({ position }) => position?.tick ?? 0n);
  expect(ticks.slice(1, 4)).toEqual([lastTick, lastTick, lastTick]);
  expect(ticks[4]).toBeGreaterThan(lastTick);
});

test("a tail from the latest place gets transactions whole that are committed after it began", async () => {
  const writer = await startWriter();
  const [early, late] = [await writer.begin(), await writer.begin()];
  await writer.insert([1], early);
  await writer.insert([2], late);
  await insert(writer.cluster, 3);
  await writer.commit(early);
  const tail = openTail(writer.cluster, { from: TailFrom.LATEST });
  await tail.until(() => tail.events.length > 0);
  await writer.insert([4], late);
  await writer.commit(late);
  await insert(writer.cluster, 5);
  await tail.until(() => tail.ids().length === 3);
  expect(tail.ids()).toEqual([2, 4, 5]);
});

test("a tail goes on behind any message, also within and between transactions, and misses nothing", async () => {
  const writer = await startWriter();
  const [a, b, c] = [await writer.begin(), await writer.begin(), await writer.begin()];
  await writer.insert([1, 2], a);
  await writer.insert([3], b);
  await writer.insert([4, 5, 6]);
  await writer.insert([7], a);
  await writer.commit(b);
  await writer.insert([8], c);
  await insert(writer.cluster, 9);
  await writer.commit(a);
  await writer.insert([10], c);
  await writer.commit(c);
  const order = [4, 5, 6, 3, 9, 1, 2, 7, 8, 10];
  const first = openTail(writer.cluster);
  await first.until(() => first.ids().length === order.length);
  expect(first.ids()).toEqual(order);
  for (const [index, { position }] of first.messages().entries()) {
    const rest = openTail(writer.cluster, { positions: position ? [position] : [] });
    await rest.until(() => rest.ids().length >= order.length - index - 1);
    await writer.cluster.clock.advance(100);
    expect(rest.ids()).toEqual(order.slice(index + 1));
    rest.abort();
  }
});

test("a tail goes on where a heartbeat says, while a transaction is open and after", async () => {
  const writer = await startWriter();
  const txn = await writer.begin();
  await writer.insert([1], txn);
  await insert(writer.cluster, 2);
  const first = openTail(writer.cluster, { from: TailFrom.LATEST });
  await first.until(() => first.events.length > 0);
  await writer.cluster.clock.advance(6000);
  const [position] = heartbeats(first).slice(-1);
  first.abort();
  expect(position?.id).toBeUndefined();
  await writer.insert([3], txn);
  await writer.commit(txn);
  await insert(writer.cluster, 4);
  const second = openTail(writer.cluster, { positions: position ? [position] : [] });
  await second.until(() => second.ids().length === 3);
  await writer.cluster.clock.advance(6000);
  expect(second.ids()).toEqual([1, 3, 4]);
});

test("a position whose transaction was truncated is OUT_OF_RANGE, rather than half a transaction", async () => {
  const writer = await startWriter();
  await writer.insert([0]);
  const txn = await writer.begin();
  await writer.insert([1], txn);
  await insert(writer.cluster, 2);
  const first = openTail(writer.cluster);
  await first.until(() => first.ids().length === 2);
  const position = first.messages()[1]?.position;
  first.abort();
  const { id } = await writer.commit(txn);
  await writer.wal().truncate(id.sequence);
  // The next owner has nothing of it in memory.
  await writer.cluster.move(writer.pchannel, 1);
  const second = openTail(writer.cluster, { positions: position ? [position] : [] });
  await expect(second.ended).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
});

test("tails that hold too much of what is open fail, and go on later where they were", async () => {
  const writer = await startWriter({ limits: { tailTxnBytes: 4000 } });
  const first = openTail(writer.cluster);
  const txn = await writer.begin();
  await writer.insert([1, 2, 3], txn);
  await writer.insert([4, 5, 6, 7], txn);
  await writer.cluster.clock.advance(1000);
  const second = openTail(writer.cluster);
  await expect(settled(writer.cluster, second.ended)).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    retryAfterMs: 1000,
  });
  await writer.commit(txn);
  await first.until(() => first.ids().length === 7);
  const third = openTail(writer.cluster);
  await third.until(() => third.ids().length === 7);
  expect(third.ids()).toEqual(first.ids());
});

test("on a quiet vchannel the place goes on, with time and with what others write", async () => {
  const writer = await startWriter();
  const { cluster } = writer;
  await cluster.client.createCollection({ name: "other", schema });
  const tail = openTail(cluster);
  await tail.until(() => tail.events.length > 0);
  const place = async (): Promise<[bigint, bigint]> => {
    await cluster.clock.advance(7000);
    const { tick, resume } = heartbeats(tail).at(-1) ?? {};
    return [tick ?? 0n, resume ?? 0n];
  };
  const before = await place();
  const idle = await place();
  expect(idle[0]).toBeGreaterThan(before[0]);
  await cluster.client.insert({ collection: "other", rows: [{ id: 1 }] });
  const after = await place();
  expect(after[0]).toBeGreaterThan(idle[0]);
  expect(after[1]).toBeGreaterThan(idle[1]);
  expect(after[1]).toBe(BigInt(writer.wal().bounds().next));
});

for (let seed = 1; seed <= 12; seed++) {
  test(`each message comes once and in order, over owners and tails that come and go (seed ${seed})`, async () => {
    const random = createSeededRandom(seed);
    const writer = await startWriter();
    const open = new Map<Tick, number[]>();
    const expected: number[] = [];
    const steady = openTail(writer.cluster);
    let broken = openTail(writer.cluster);
    const got: number[] = [];
    let position: TailPosition | undefined;
    let rows = 0;
    let node: 0 | 1 = 0;

    /** As a client that handles some of what it got and then connects anew. */
    const breakOff = (): void => {
      const { events } = broken;
      for (const event of events.slice(0, Math.ceil(random.next() * events.length))) {
        if (event.case === "heartbeat") position = event.value.positions[0] ?? position;
        if (event.case !== "message") continue;
        got.push(...event.value.rows.map(({ id }) => Number(id)));
        position = event.value.position;
      }
      broken.abort();
      broken = openTail(writer.cluster, { positions: position ? [position] : [] });
    };
    const pick = (): Tick => [...open.keys()][Math.floor(random.next() * open.size)] ?? 0n;
    const act = async (dice: number): Promise<void> => {
      if (dice < 0.2) {
        expected.push(rows, rows + 1);
        await writer.insert([rows++, rows++]);
      } else if (dice < 0.32) {
        open.set(await writer.begin(), []);
      } else if (dice < 0.55 && open.size > 0) {
        const txn = pick();
        open.get(txn)?.push(rows, rows + 1);
        await writer.insert([rows++, rows++], txn);
      } else if (dice < 0.7 && open.size > 0) {
        const txn = pick();
        if (random.next() < 0.2) await writer.rollback(txn);
        else {
          await writer.commit(txn);
          expected.push(...(open.get(txn) ?? []));
        }
        open.delete(txn);
      } else if (dice < 0.8) {
        await writer.cluster.clock.advance(random.next() * 3000);
      } else if (dice < 0.9) {
        breakOff();
      } else {
        node = node === 0 ? 1 : 0;
        await writer.cluster.move(writer.pchannel, node);
      }
    };
    for (let step = 0; step < 70; step++) {
      await act(random.next());
      await writer.cluster.clock.advance(20);
    }
    await steady.until(() => steady.ids().length >= expected.length);
    expect(steady.ids().map(Number)).toEqual(expected);
    await broken.until(() => got.length + broken.ids().length >= expected.length);
    await writer.cluster.clock.advance(1000);
    expect([...got, ...broken.ids().map(Number)]).toEqual(expected);
  });
}
