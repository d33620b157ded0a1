import { clone } from "@bufbuild/protobuf";
import { createMemoryObjectStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";
import { CollectionSchema$ as CollectionMessage } from "@millrace/types/gen";
import { expect, test } from "vitest";
import {
  type Bench,
  createBench,
  type PutFaults,
  readLog,
  testCollection,
  withPutFaults,
} from "./support.ts";

/** Until the table holds everything up to a tick. */
async function flushed(
  bench: Bench,
  flusher: { checkpoint(vchannel: string): bigint | undefined },
  tick: bigint,
): Promise<void> {
  await bench.until(() => (flusher.checkpoint(bench.vchannel) ?? 0n) >= tick);
}

test("rows before it leave the table or never get there, rows behind it stay", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert([1, 2]);
  await bench.insert([3], 2n);
  await flushed(bench, flusher, await bench.flush());
  await bench.insert([4]);
  await bench.until(() => flusher.status().rows === 1);
  const tick = await bench.truncate();
  await bench.insert([5]);
  await flushed(bench, flusher, tick);
  expect(await bench.tableIds()).toEqual([]);
  await flushed(bench, flusher, await bench.flush());
  expect(await bench.tableIds()).toEqual([5]);
  // What grew was not written for nothing.
  expect(await bench.dataFiles()).toHaveLength(3);
  const log = await readLog(bench.store, bench.collection.tablePath);
  expect(log.filter(({ remove }) => remove)).toHaveLength(2);
  expect(log.flatMap(({ commitInfo }) => (commitInfo ? [commitInfo] : []))).toMatchObject([
    { operation: "WRITE" },
    { operation: "TRUNCATE" },
    { operation: "WRITE" },
  ]);
  expect(flusher.status()).toMatchObject({ rows: 0, bytes: 0, problem: "" });
  expect(flusher.flushedSequence()).toBe(bench.wal.bounds().next);
  await flusher.close();
});

test("an empty table may be truncated, and one twice", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.truncate();
  await flushed(bench, flusher, await bench.truncate());
  await bench.insert([1]);
  await flushed(bench, flusher, await bench.flush());
  expect(await bench.tableIds()).toEqual([1]);
  await flusher.close();
});

test("the shards of a table are truncated each by itself", async () => {
  const store = createMemoryObjectStore();
  const collection = testCollection();
  const one = await createBench(store, clone(CollectionMessage, collection));
  const other = await createBench(
    store,
    clone(CollectionMessage, { ...collection, vchannels: [`${collection.vchannels[0]}1`] }),
  );
  const [first, second] = [one.flusher(), other.flusher()];
  for (const flusher of [first, second]) flusher.start();
  await one.insert([1]);
  await other.insert([2]);
  await flushed(one, first, await one.flush());
  await flushed(other, second, await other.flush());
  await flushed(one, first, await one.truncate());
  expect(await one.tableIds()).toEqual([2]);
  await flushed(other, second, await other.truncate());
  expect(await one.tableIds()).toEqual([]);
  for (const flusher of [first, second]) await flusher.close();
});

test("while the store is away the checkpoint stays before it; the next owner does it", async () => {
  const faults: PutFaults = {};
  const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert([1]);
  await flushed(bench, flusher, await bench.flush());
  faults.before = () => {
    throw new MillraceError("UNAVAILABLE", "the store is away");
  };
  const tick = await bench.truncate();
  await bench.insert([2]);
  await bench.until(() => flusher.status().problem === "the store is away");
  expect(flusher.checkpoint(bench.vchannel)).toBeLessThan(tick);
  expect(flusher.flushedSequence()).toBeLessThan(bench.wal.bounds().next);
  const from = flusher.snapshot();
  await flusher.close();
  faults.before = undefined;

  await bench.takeOver();
  const next = bench.flusher({ from });
  next.start();
  await flushed(bench, next, await bench.flush());
  expect(await bench.tableIds()).toEqual([2]);
  await next.close();
});
