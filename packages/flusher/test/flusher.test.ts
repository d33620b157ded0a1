import { create, toBinary } from "@bufbuild/protobuf";
import { createMemoryObjectStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";
import { AlterCollectionHeaderSchema, MessageType } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createFlushBudget } from "../src/mod.ts";
import {
  type Bench,
  createBench,
  type PutFaults,
  range,
  readLog,
  testCollection,
  withPutFaults,
} from "./support.ts";

const sorted = (ids: number[]): number[] => ids.sort((a, b) => a - b);

/** Until the table holds everything up to a tick. */
async function flushed(
  bench: Bench,
  flusher: { checkpoint(vchannel: string): bigint | undefined },
  tick: bigint,
): Promise<void> {
  await bench.until(() => (flusher.checkpoint(bench.vchannel) ?? 0n) >= tick);
}

test("a manual flush brings all rows before it into the table with one commit", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert(range(0, 10));
  await bench.insert(range(10, 5), 2n);
  await bench.insert(range(15, 3));
  expect(await bench.commits()).toBe(0);
  const tick = await bench.flush();
  await flushed(bench, flusher, tick);

  expect(sorted(await bench.tableIds())).toEqual(range(0, 18));
  expect(await bench.commits()).toBe(1);
  const log = await readLog(bench.store, bench.collection.tablePath);
  const files = log.flatMap((action) => (action.add ? [action.add] : []));
  expect(files.map((file) => file.partitionValues)).toEqual([
    { _partition: "_default" },
    { _partition: "other" },
  ]);
  expect(files.map((file) => JSON.parse(file.stats))).toMatchObject([
    { numRecords: 13, minValues: { id: 0 }, maxValues: { id: 17 }, nullCount: { id: 0, text: 0 } },
    { numRecords: 5, minValues: { id: 10 }, maxValues: { id: 14 } },
  ]);
  const metaData = log.find((action) => action.metaData)?.metaData;
  expect(metaData?.partitionColumns).toEqual(["_partition"]);
  expect(JSON.parse(metaData?.schemaString ?? "").fields).toMatchObject([
    { name: "id", type: "long", nullable: false },
    { name: "text", type: "string", nullable: true },
    { name: "_partition", type: "string" },
  ]);
  expect(log.find((action) => action.txn)?.txn).toMatchObject({ appId: bench.vchannel });
  expect(flusher.flushedSequence()).toBe(bench.wal.bounds().next);
  expect(flusher.status()).toMatchObject({ rows: 0, bytes: 0, problem: "" });
  await flusher.close();
});

test("a second commit adds to the table and does not describe it again", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert([1]);
  await flushed(bench, flusher, await bench.flush());
  await bench.insert([2]);
  await flushed(bench, flusher, await bench.flush());
  const log = await readLog(bench.store, bench.collection.tablePath);
  expect(log.filter((action) => action.metaData)).toHaveLength(1);
  expect(log.filter((action) => action.add)).toHaveLength(2);
  expect(await bench.tableIds()).toEqual([1, 2]);
  await flusher.close();
});

test("rows are sealed by number, by bytes, when idle and when old", async () => {
  const cases = [
    { limits: { rows: 5 }, waitMs: 0 },
    { limits: { bytes: 1000 }, waitMs: 0 },
    { limits: { idleMs: 20_000 }, waitMs: 20_000 },
    { limits: { ageMs: 20_000 }, waitMs: 18_000 },
  ];
  for (const { limits, waitMs } of cases) {
    const bench = await createBench();
    const flusher = bench.flusher({ limits });
    flusher.start();
    for (const id of range(0, 5)) await bench.insert([id]);
    if (waitMs > 0) {
      await bench.clock.advance(waitMs - 1000);
      expect(await bench.commits(), JSON.stringify(limits)).toBe(0);
    }
    await bench.until(async () => (await bench.commits()) > 0, 4000);
    await flusher.close();
  }
});

test("rows are sealed by the limits that are in force when they are looked at", async () => {
  const bench = await createBench();
  let limits: { rows?: number; ageMs?: number } = {};
  const flusher = bench.flusher({ limits: () => limits });
  flusher.start();
  await bench.insert(range(0, 5));
  await bench.clock.advance(10_000);
  expect(await bench.commits()).toBe(0);
  limits = { ageMs: 5000 };
  await bench.until(async () => (await bench.commits()) === 1, 4000);
  limits = { rows: 3 };
  await bench.insert(range(5, 4));
  await bench.until(async () => (await bench.commits()) === 2, 100);
  await flusher.close();
});

test("an idle vchannel does not hold the checkpoint back, and its rows do", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.clock.advance(0);
  const before = bench.wal.lastTick();
  expect(flusher.checkpoint(bench.vchannel)).toBe(before);
  const next = bench.wal.bounds().next;
  expect(flusher.flushedSequence()).toBe(next);
  await bench.insert([1]);
  await bench.clock.advance(0);
  expect(flusher.checkpoint(bench.vchannel)).toBe(before);
  expect(flusher.flushedSequence()).toBe(next);
  expect(flusher.checkpoint("unknown_1v0")).toBeUndefined();
  await flusher.close();
});

test("the next owner does not take rows for flushed that it has not read yet", async () => {
  const bench = await createBench();
  const first = bench.flusher();
  first.start();
  const tick = await bench.insert([1]);
  await bench.clock.advance(0);
  const from = first.snapshot();
  await first.close();
  await bench.takeOver();
  const second = bench.flusher({ from });
  expect(second.checkpoint(bench.vchannel)).toBeLessThan(tick);
  second.start();
  await flushed(bench, second, await bench.flush());
  expect(await bench.tableIds()).toEqual([1]);
  await second.close();
});

test("a message that cannot be read stops the reading at its place, and nothing is read twice", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  const broken = { type: 2, vchannel: bench.vchannel, header: new Uint8Array([255]) };
  const good = bench.insert([1, 2]);
  const bad = bench.wal.append([{ ...broken, payload: new Uint8Array() }]);
  await Promise.all([good, bad]);
  flusher.start();
  await bench.clock.advance(60_000);
  const { problem, rows } = flusher.status();
  expect(problem).toMatch(/message \d+ of batch \d+ is of type 2/);
  expect(rows).toBeLessThanOrEqual(2);
  await flusher.close();
});

test("messages that it has no use for do not stop it", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  const { collection, vchannel } = bench;
  const header = toBinary(
    AlterCollectionHeaderSchema,
    create(AlterCollectionHeaderSchema, { collection }),
  );
  const payload = new Uint8Array();
  await bench.insert([1]);
  await bench.wal.append([{ type: MessageType.ALTER_COLLECTION, vchannel, header, payload }]);
  await bench.wal.append([{ type: 4711, vchannel, header: payload, payload }]);
  await bench.insert([2]);
  // Time ticks are written, and segments are created before their first insert.
  await bench.clock.advance(1000);
  const types = new Set<number>();
  const { signal } = new AbortController();
  for await (const batch of bench.wal.scan({ from: "earliest", follow: false, signal })) {
    for (const { type } of batch.messages()) types.add(type);
  }
  expect(types).toContain(MessageType.TIME_TICK);
  expect(types).toContain(MessageType.CREATE_SEGMENT);
  await flushed(bench, flusher, await bench.flush());
  expect(await bench.tableIds()).toEqual([1, 2]);
  expect(flusher.status()).toMatchObject({ rows: 0, problem: "" });
  await flusher.close();
});

test("dropping the collection discards what grows and lets the log go", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert(range(0, 3));
  await bench.dropCollection();
  await bench.clock.advance(100_000);
  expect(await bench.dataFiles()).toEqual([]);
  expect(flusher.checkpoint(bench.vchannel)).toBeUndefined();
  expect(flusher.flushedSequence()).toBe(bench.wal.bounds().next);
  expect(flusher.status()).toMatchObject({ rows: 0, bytes: 0 });
  await flusher.close();
});

test("a partition that is created later is known from then on, also to the next owner", async () => {
  const bench = await createBench();
  const first = bench.flusher();
  first.start();
  await bench.createPartition(3n, "late");
  await bench.insert([1], 3n);
  await flushed(bench, first, await bench.flush());
  const from = first.snapshot();
  await first.close();
  await bench.takeOver();
  const second = bench.flusher({ from });
  second.start();
  await bench.insert([2], 3n);
  await flushed(bench, second, await bench.flush());
  expect((await bench.dataFiles()).every((key) => key.includes("_partition=late/"))).toBe(true);
  expect(await bench.tableIds()).toEqual([1, 2]);
  await second.close();
});

const crashes: [name: string, faults: (crash: () => never) => PutFaults][] = [
  ["before the upload", (crash) => ({ before: (key) => (isData(key) ? crash() : undefined) })],
  ["after the upload", (crash) => ({ after: (key) => (isData(key) ? crash() : undefined) })],
  ["before the commit", (crash) => ({ before: (key) => (isData(key) ? undefined : crash()) })],
  ["after the commit", (crash) => ({ after: (key) => (isData(key) ? undefined : crash()) })],
];

for (const [name, faultsOf] of crashes) {
  for (const known of ["nothing", "a snapshot"]) {
    test(`a crash ${name} leaves each row in the table once, for an owner that knows ${known}`, async () => {
      const faults: PutFaults = {};
      const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
      const first = bench.flusher();
      first.start();
      await bench.insert(range(0, 4));
      await flushed(bench, first, await bench.flush());
      const from = known === "nothing" ? undefined : first.snapshot();

      let crashed = false;
      Object.assign(
        faults,
        faultsOf(() => {
          crashed = true;
          throw new MillraceError("UNAVAILABLE", "crash", { maybeApplied: true });
        }),
      );
      await bench.insert(range(4, 3));
      await bench.insert(range(7, 3), 2n);
      await bench.flush();
      await bench.until(() => crashed);
      await first.close();
      faults.before = undefined;
      faults.after = undefined;

      await bench.takeOver();
      const second = bench.flusher({ from });
      second.start();
      await bench.insert(range(10, 2));
      await flushed(bench, second, await bench.flush());
      expect(sorted(await bench.tableIds())).toEqual(range(0, 12));
      const log = await readLog(bench.store, bench.collection.tablePath);
      const referenced = log.flatMap(({ add }) => (add ? [add.path] : []));
      await bench.until(async () => (await bench.dataFiles()).length === referenced.length);
      await second.close();
    });
  }
}

for (const [name, faultsOf] of crashes) {
  test(`an answer lost ${name} is made good by the same flusher`, async () => {
    const faults: PutFaults = {};
    const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
    const flusher = bench.flusher();
    let failures = 3;
    const armed = faultsOf(() => {
      throw new MillraceError("UNAVAILABLE", "lost", { maybeApplied: true });
    });
    faults.before = (key) => (failures > 0 ? failing(armed.before, key) : undefined);
    faults.after = (key) => (failures > 0 ? failing(armed.after, key) : undefined);
    const failing = (fault: PutFaults["before"], key: string): void => {
      try {
        fault?.(key);
      } catch (error) {
        failures--;
        throw error;
      }
    };
    flusher.start();
    await bench.insert(range(0, 4));
    await bench.insert(range(4, 4), 2n);
    await flushed(bench, flusher, await bench.flush());
    expect(sorted(await bench.tableIds())).toEqual(range(0, 8));
    expect(await bench.commits()).toBe(1);
    expect(await bench.dataFiles()).toHaveLength(2);
    expect(flusher.status()).toMatchObject({ problem: "", bytes: 0 });
    await flusher.close();
  });
}

test("an owner of old whose commit comes late doubles no row", async () => {
  // The old owner stands still before its commit, while the new one flushes the same rows and more.
  const base = createMemoryObjectStore();
  const bench = await createBench(base);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const slow = withPutFaults(base, { before: (key) => (isData(key) ? undefined : held) });
  const zombie = bench.flusher({ store: slow });
  zombie.start();
  await bench.insert(range(0, 5));
  await bench.flush();
  await bench.until(async () => (await bench.dataFiles()).length === 1);

  await bench.takeOver();
  const owner = bench.flusher();
  owner.start();
  await bench.insert(range(5, 5));
  await flushed(bench, owner, await bench.flush());
  release();
  await bench.clock.advance(10_000);
  expect(sorted(await bench.tableIds())).toEqual(range(0, 10));
  await zombie.close();
  await owner.close();
});

test("an owner of old that commits first leaves the new one only what is missing", async () => {
  const base = createMemoryObjectStore();
  const bench = await createBench(base);
  const zombie = bench.flusher();
  await bench.insert(range(0, 5));
  await bench.flush();

  // The new owner has read the table and uploaded its files when the old one commits.
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const slow = withPutFaults(base, { before: (key) => (isData(key) ? undefined : held) });
  await bench.takeOver();
  const owner = bench.flusher({ store: slow, limits: { rows: 8 } });
  owner.start();
  const tick = await bench.insert(range(5, 5));
  await bench.until(async () => (await bench.dataFiles()).length > 0);

  zombie.start();
  await bench.until(async () => (await bench.commits()) === 1);
  release();
  await flushed(bench, owner, tick - 1n);
  await flushed(bench, owner, await bench.flush());
  expect(sorted(await bench.tableIds())).toEqual(range(0, 10));
  expect(await bench.dataFiles()).toHaveLength(await bench.commits());
  await zombie.close();
  await owner.close();
});

test("while the store is away inserts go on, the status says why, and flushing resumes", async () => {
  const faults: PutFaults = {};
  const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
  const flusher = bench.flusher();
  faults.before = () => {
    throw new MillraceError("UNAVAILABLE", "the store is away");
  };
  flusher.start();
  await bench.insert(range(0, 3));
  await bench.flush();
  await bench.clock.advance(30_000);
  expect(flusher.status()).toMatchObject({ rows: 3, problem: "the store is away" });
  await bench.insert(range(3, 3));
  const tick = await bench.flush();
  faults.before = undefined;
  await flushed(bench, flusher, tick);
  expect(sorted(await bench.tableIds())).toEqual(range(0, 6));
  expect(flusher.status().problem).toBe("");
  await flusher.close();
});

test("one vchannel's damaged rows do not stop the reading, and are reported with their place", async () => {
  const unpartitioned = { ...testCollection(), partitions: [] };
  const bench = await createBench(createMemoryObjectStore(), unpartitioned);
  const flusher = bench.flusher();
  flusher.start();
  await bench.insert([1], 99n);
  await bench.flush();
  await bench.until(() => flusher.status().problem !== "");
  expect(flusher.status().problem).toContain("partition 99");
  // It was only early: the partition is told of now.
  await bench.createPartition(99n, "found");
  await flushed(bench, flusher, await bench.flush());
  expect(await bench.tableIds()).toEqual([1]);
  await flusher.close();
});

test("rows in memory stay within the budget: the largest are sealed, and reading waits", async () => {
  const faults: PutFaults = {};
  const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  faults.before = () => gate;
  const budget = createFlushBudget({ bytes: 20_000 });
  const flusher = bench.flusher({ budget });
  flusher.start();
  for (const id of range(0, 200)) await bench.insert([id]);
  await bench.clock.advance(1000);
  expect(flusher.status().bytes).toBeLessThanOrEqual(20_000);
  expect(flusher.status().rows).toBeGreaterThan(10);
  expect(flusher.status().rows).toBeLessThan(200);
  open();
  await flushed(bench, flusher, await bench.flush());
  expect(sorted(await bench.tableIds())).toEqual(range(0, 200));
  expect(flusher.status().bytes).toBe(0);
  await flusher.close();
});

function isData(key: string): boolean {
  return key.endsWith(".parquet");
}
