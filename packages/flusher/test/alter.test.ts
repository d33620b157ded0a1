import { clone } from "@bufbuild/protobuf";
import { createMemoryObjectStore } from "@millrace/storage";
import { CollectionSchema$ as CollectionMessage } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { type Bench, createBench, type LogAction, readLog, testCollection } from "./support.ts";

/** Until the table holds everything up to a tick. */
async function flushed(
  bench: Bench,
  flusher: { checkpoint(vchannel: string): bigint | undefined },
  tick: bigint,
): Promise<void> {
  await bench.until(() => (flusher.checkpoint(bench.vchannel) ?? 0n) >= tick);
}

/** What a table said of itself, in order. */
async function descriptions(bench: Bench): Promise<NonNullable<LogAction["metaData"]>[]> {
  const log = await readLog(bench.store, bench.collection.tablePath);
  return log.flatMap(({ metaData }) => (metaData ? [metaData] : []));
}

const columnsOf = ({ schemaString }: { schemaString: string }): string[] =>
  JSON.parse(schemaString).fields.map(({ name }: { name: string }) => name);

test("rows of before and after an added field share a file; the table is described anew, once", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert([1]);
  await flushed(bench, flusher, await bench.flush());
  await bench.insert([2]);
  await bench.alterCollection("gate");
  await bench.insert([3]);
  await flushed(bench, flusher, await bench.flush());
  await bench.insert([4]);
  await flushed(bench, flusher, await bench.flush());

  expect((await bench.tableRows()).map(({ id, gate }) => [Number(id), gate])).toEqual([
    [1, undefined],
    [2, null],
    [3, "gate 3"],
    [4, "gate 4"],
  ]);
  const [first, second, ...more] = await descriptions(bench);
  expect(more).toEqual([]);
  expect(first && columnsOf(first)).toEqual(["id", "text", "_partition"]);
  expect(second && columnsOf(second)).toEqual(["id", "text", "gate", "_partition"]);
  expect(second).toMatchObject({
    id: first?.id,
    createdTime: first?.createdTime,
    configuration: { "millrace.schemaVersion": "2" },
  });
  await flusher.close();
});

test.each(["with what the owner before kept", "with nothing but the log"])(
  "the next owner goes on with the added field, %s",
  async (how) => {
    const bench = await createBench();
    const before = bench.flusher();
    before.start();
    await bench.insert([1]);
    await flushed(bench, before, await bench.flush());
    await bench.alterCollection("gate");
    await bench.insert([2]);
    await bench.until(() => before.status().rows === 1);
    const from = how.startsWith("with what") ? before.snapshot() : undefined;
    await before.close();

    await bench.takeOver();
    const flusher = bench.flusher({ from });
    flusher.start();
    await bench.insert([3]);
    await flushed(bench, flusher, await bench.flush());
    await bench.alterCollection("note");
    await bench.insert([4]);
    await flushed(bench, flusher, await bench.flush());
    const rows = await bench.tableRows();
    expect(rows.map(({ id, gate, note }) => [Number(id), gate, note])).toEqual([
      [1, undefined, undefined],
      [2, "gate 2", undefined],
      [3, "gate 3", undefined],
      [4, "gate 4", "note 4"],
    ]);
    expect((await descriptions(bench)).map(({ id }) => id).length).toBe(3);
    expect(new Set((await descriptions(bench)).map(({ id }) => id)).size).toBe(1);
    await flusher.close();
  },
);

test("a shard that has not been told yet does not take the table's new field back", async () => {
  const store = createMemoryObjectStore();
  const collection = testCollection();
  const told = await createBench(store, clone(CollectionMessage, collection));
  const behind = await createBench(
    store,
    clone(CollectionMessage, { ...collection, vchannels: [`${collection.vchannels[0]}1`] }),
  );
  const flushers = [told, behind].map((bench) => bench.flusher());
  for (const flusher of flushers) flusher.start();
  const [first, second] = flushers;
  if (!first || !second) throw new Error("two flushers");
  await behind.insert([1]);
  await flushed(behind, second, await behind.flush());
  await told.alterCollection("gate");
  await told.insert([2]);
  await flushed(told, first, await told.flush());
  await behind.insert([3]);
  await flushed(behind, second, await behind.flush());
  await behind.alterCollection("gate");
  await behind.insert([4]);
  await flushed(behind, second, await behind.flush());
  expect((await descriptions(told)).map(columnsOf)).toEqual([
    ["id", "text", "_partition"],
    ["id", "text", "gate", "_partition"],
  ]);
  expect((await told.tableRows()).map(({ id, gate }) => [Number(id), gate])).toEqual([
    [1, undefined],
    [2, "gate 2"],
    [3, undefined],
    [4, "gate 4"],
  ]);
  for (const flusher of flushers) await flusher.close();
});
