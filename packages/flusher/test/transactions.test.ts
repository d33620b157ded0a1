import { createMemoryObjectStore } from "@millrace/storage";
import { MillraceError, type Tick } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createFlushBudget, type Flusher, type FlusherSnapshot } from "../src/mod.ts";
import { type Bench, createBench, type PutFaults, range, withPutFaults } from "./support.ts";

const sorted = (ids: number[]): number[] => ids.sort((a, b) => a - b);

async function flushed(bench: Bench, flusher: Flusher, tick: Tick): Promise<void> {
  await bench.until(() => (flusher.checkpoint(bench.vchannel) ?? 0n) >= tick);
}

/** Seals what counts up to now, but for what is open, and waits until it is in the table. */
async function flushAll(bench: Bench, flusher: Flusher): Promise<void> {
  const tick = bench.wal.lastTick();
  await bench.clock.advance(5000);
  await flushed(bench, flusher, tick);
}

/** Rows are flushed when none came for a second: a manual flush would end what is open. */
const limits = { idleMs: 1000 };

test("rows of a transaction are flushed after its commit, those rolled back never", async () => {
  const bench = await createBench();
  const flusher = bench.flusher({ limits });
  flusher.start();
  const [kept, dropped] = [await bench.begin(), await bench.begin()];
  await bench.insert([1, 2], 1n, kept);
  await bench.insert([3], 1n, dropped);
  await bench.insert([4]);
  await flushAll(bench, flusher);
  expect(await bench.tableIds()).toEqual([4]);
  await bench.wal.rollback(dropped);
  await bench.insert([5], 2n, kept);
  await bench.commit(kept);
  await flushAll(bench, flusher);
  expect(sorted(await bench.tableIds())).toEqual([1, 2, 4, 5]);
  expect(flusher.status()).toMatchObject({ rows: 0, bytes: 0, problem: "" });
  await flusher.close();
});

test("a manual flush gives up what is open, and flushes what was committed before it", async () => {
  const bench = await createBench();
  const flusher = bench.flusher();
  flusher.start();
  const [open, done] = [await bench.begin(), await bench.begin()];
  await bench.insert([1], 1n, open);
  await bench.insert([2], 1n, done);
  await bench.commit(done);
  await flushed(bench, flusher, await bench.flush());
  expect(await bench.tableIds()).toEqual([2]);
  await expect(bench.commit(open)).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
  await bench.insert([3]);
  await flushed(bench, flusher, await bench.flush());
  expect(await bench.tableIds()).toEqual([2, 3]);
  await flusher.close();
});

test("the log is needed from where the oldest transaction began, until its rows are in the table", async () => {
  const faults: PutFaults = {};
  const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
  const flusher = bench.flusher({ limits });
  flusher.start();
  const begun = bench.wal.bounds().next;
  const txn = await bench.begin();
  await bench.insert([1]);
  await bench.insert([2], 1n, txn);
  await flushAll(bench, flusher);
  expect(flusher.flushedSequence()).toBe(begun);
  // The checkpoint goes on: rows that are committed later count later.
  expect(flusher.checkpoint(bench.vchannel)).toBeGreaterThan(txn);

  let away = true;
  faults.before = () => {
    if (away) throw new MillraceError("UNAVAILABLE", "the store is away");
  };
  const commit = await bench.commit(txn);
  await bench.insert([3]);
  await bench.clock.advance(10_000);
  expect(flusher.flushedSequence()).toBe(begun);
  expect(flusher.checkpoint(bench.vchannel)).toBeLessThan(commit);
  away = false;
  await flushAll(bench, flusher);
  expect(flusher.flushedSequence()).toBe(bench.wal.bounds().next);
  expect(sorted(await bench.tableIds())).toEqual([1, 2, 3]);
  await flusher.close();
});

test("a transaction that is rolled back does not hold the log", async () => {
  const bench = await createBench();
  const flusher = bench.flusher({ limits });
  flusher.start();
  const txn = await bench.begin();
  await bench.insert([1], 1n, txn);
  await bench.wal.rollback(txn);
  await bench.clock.advance(1000);
  expect(flusher.flushedSequence()).toBe(bench.wal.bounds().next);
  expect(flusher.status()).toMatchObject({ rows: 0, bytes: 0 });
  await flusher.close();
});

for (const known of ["nothing", "a snapshot of before", "the last snapshot"]) {
  test(`a transaction that is open while the owner changes is flushed once by the next, which knows ${known}`, async () => {
    const bench = await createBench();
    const first = bench.flusher({ limits });
    const before = first.snapshot();
    first.start();
    const txn = await bench.begin();
    await bench.insert([1], 1n, txn);
    await bench.insert([2]);
    // Flushed behind the beginning, so that it is read again and not written again.
    await flushAll(bench, first);
    expect(await bench.tableIds()).toEqual([2]);
    const last = first.snapshot();
    expect(last.sequence).toBeLessThan(bench.wal.bounds().next);
    if (known === "the last snapshot") await bench.wal.truncate(last.sequence);
    await first.close();

    await bench.takeOver();
    const from = { nothing: undefined, "a snapshot of before": before, "the last snapshot": last }[
      known
    ];
    const checkpoints: (Tick | undefined)[] = [];
    const second = bench.flusher({
      limits,
      from,
      onBatch: () => checkpoints.push(second.checkpoint(bench.vchannel)),
    });
    second.start();
    await bench.insert([3], 2n, txn);
    await bench.commit(txn);
    await bench.insert([4]);
    await flushAll(bench, second);
    expect(sorted(await bench.tableIds())).toEqual([1, 2, 3, 4]);
    expect(second.flushedSequence()).toBe(bench.wal.bounds().next);
    // Also while it reads again what the first one had read.
    expect(checkpoints.every((tick) => (tick ?? 0n) >= (from?.lastTick ?? 0n))).toBe(true);
    await second.close();
  });
}

test("a crash between the commit of a transaction and its flush loses and doubles nothing", async () => {
  const faults: PutFaults = {};
  const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
  const first = bench.flusher({ limits });
  first.start();
  const [early, late] = [await bench.begin(), await bench.begin()];
  await bench.insert([1], 1n, early);
  await bench.insert([2], 1n, late);
  await bench.commit(early);
  await flushAll(bench, first);
  const from = first.snapshot();
  await bench.commit(late);
  await bench.insert([3]);
  let crashed = false;
  faults.after = (key) => {
    // The commit is done, and the owner does not live to know it.
    if (key.endsWith(".json")) crashed = true;
    if (crashed) throw new MillraceError("UNAVAILABLE", "crash", { maybeApplied: true });
  };
  await bench.until(() => crashed);
  await first.close();
  faults.after = undefined;

  await bench.takeOver();
  const second = bench.flusher({ limits, from });
  second.start();
  await bench.insert([4]);
  await flushAll(bench, second);
  expect(sorted(await bench.tableIds())).toEqual([1, 2, 3, 4]);
  await second.close();
});

test("what is open counts to the memory, and does not stop the reading that would free it", async () => {
  const bench = await createBench();
  const budget = createFlushBudget({ bytes: 20_000 });
  const flusher = bench.flusher({ budget, limits });
  flusher.start();
  const txn = await bench.begin();
  for (const id of range(0, 100)) await bench.insert([id], 1n, txn);
  await bench.clock.advance(1000);
  expect(flusher.status().bytes).toBeGreaterThan(20_000);
  for (const id of range(100, 100)) await bench.insert([id]);
  await flushAll(bench, flusher);
  expect(sorted(await bench.tableIds())).toEqual(range(100, 100));
  await bench.commit(txn);
  await flushAll(bench, flusher);
  expect(sorted(await bench.tableIds())).toEqual(range(0, 200));
  expect(flusher.status().bytes).toBe(0);
  await flusher.close();
});

test("a transaction that cannot be read stops the reading at its place, and holds the log", async () => {
  const bench = await createBench();
  const flusher = bench.flusher({ limits });
  flusher.start();
  const begun = bench.wal.bounds().next;
  const txn = await bench.begin();
  const broken = { type: 2, vchannel: bench.vchannel, header: new Uint8Array([255]) };
  await bench.wal.append([{ ...broken, payload: new Uint8Array() }], { txn });
  await bench.insert([1], 1n, txn);
  await bench.commit(txn);
  await bench.clock.advance(60_000);
  expect(flusher.status().problem).toMatch(/message \d+ of batch \d+ is of type 2/);
  expect(flusher.flushedSequence()).toBe(begun);
  await flusher.close();
});

for (const seed of range(1, 25)) {
  test(`transactions over owners that come and go leave what was committed in the table once (seed ${seed})`, async () => {
    const random = createSeededRandom(seed);
    const faults: PutFaults = {};
    const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
    faults.before = () => {
      if (random.next() < 0.15) throw new MillraceError("UNAVAILABLE", "chaos");
    };
    faults.after = () => {
      if (random.next() < 0.15) {
        throw new MillraceError("UNAVAILABLE", "chaos", { maybeApplied: true });
      }
    };
    const owners: Flusher[] = [];
    const snapshots: FlusherSnapshot[] = [];
    const open = new Map<Tick, number[]>();
    const expected: number[] = [];
    let rows = 0;
    const pick = (): Tick => [...open.keys()][Math.floor(random.next() * open.size)] ?? 0n;
    const takeOver = async (): Promise<void> => {
      if (owners.length > 0) await bench.takeOver();
      const from = snapshots[Math.floor(random.next() * (snapshots.length + 1))];
      const owner = bench.flusher({ from, limits: { rows: 20, idleMs: 2000 } });
      owner.start();
      owners.push(owner);
    };
    const act = async (dice: number): Promise<void> => {
      if (dice < 0.2) {
        expected.push(rows);
        await bench.insert([rows++]);
      } else if (dice < 0.3) {
        open.set(await bench.begin(), []);
      } else if (dice < 0.55 && open.size > 0) {
        const txn = pick();
        open.get(txn)?.push(rows);
        await bench.insert([rows++], random.next() < 0.5 ? 1n : 2n, txn);
      } else if (dice < 0.68 && open.size > 0) {
        const txn = pick();
        const ids = open.get(txn) ?? [];
        open.delete(txn);
        if (random.next() < 0.3) await bench.wal.rollback(txn);
        else {
          await bench.commit(txn);
          expected.push(...ids);
        }
      } else if (dice < 0.8) {
        await bench.clock.advance(random.next() * 3000);
      } else if (dice < 0.9) {
        const owner = owners.at(-1);
        if (owner) snapshots.push(owner.snapshot());
      } else {
        await takeOver();
      }
    };
    await takeOver();
    for (let step = 0; step < 80; step++) await act(random.next());
    faults.before = undefined;
    faults.after = undefined;
    const owner = owners.at(-1);
    if (!owner) throw new Error("there is an owner");
    for (const txn of open.keys()) await bench.wal.rollback(txn);
    await bench.insert([rows]);
    expected.push(rows);
    await flushAll(bench, owner);
    expect(sorted(await bench.tableIds())).toEqual(sorted(expected));
    for (const each of owners) {
      const closing = each.close();
      await bench.clock.advance(10_000);
      await closing;
    }
  });
}
