import { createMemoryObjectStore } from "@millrace/storage";
import { MillraceError, type Random } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { expect, test } from "vitest";
import type { Flusher, FlusherSnapshot } from "../src/mod.ts";
import { createBench, type PutFaults, range, withPutFaults } from "./support.ts";

/**
 * Puts that fail before or after they are done, or that take long, by chance: what a store, a network
 * and a process that is killed do to a writer.
 */
function chaos(
  random: Random,
  clock: { schedule(ms: number, then: () => void): unknown },
): PutFaults {
  const strike = async (): Promise<void> => {
    const dice = random.next();
    if (dice < 0.15) throw new MillraceError("UNAVAILABLE", "chaos", { maybeApplied: true });
    if (dice < 0.35) {
      await new Promise<void>((resolve) => clock.schedule(random.next() * 3000, resolve));
    }
  };
  return { before: strike, after: strike };
}

for (const seed of range(1, 40)) {
  // The later ones truncate as well.
  const truncates = seed > 25 ? 0.06 : 0;
  const what = truncates > 0 ? "what was not truncated" : "each row";
  test(`owners that come, go, overlap and fail leave ${what} in the table once (seed ${seed})`, async () => {
    const random = createSeededRandom(seed);
    const faults: PutFaults = {};
    const bench = await createBench(withPutFaults(createMemoryObjectStore(), faults));
    Object.assign(faults, chaos(random, bench.clock));
    const owners: Flusher[] = [];
    const snapshots: FlusherSnapshot[] = [];
    let rows = 0;
    let first = 0;
    const takeOver = async (): Promise<void> => {
      if (owners.length > 0) await bench.takeOver();
      // Any snapshot that an owner before it may have saved, or none.
      const from = snapshots[Math.floor(random.next() * (snapshots.length + 1))];
      const owner = bench.flusher({ from, limits: { rows: 20, idleMs: 4000 } });
      owner.start();
      owners.push(owner);
    };
    await takeOver();
    for (let step = 0; step < 60; step++) {
      const dice = random.next();
      if (dice < 0.45) {
        const count = 1 + Math.floor(random.next() * 8);
        await bench.insert(range(rows, count), random.next() < 0.5 ? 1n : 2n);
        rows += count;
      } else if (dice < 0.45 + truncates) {
        await bench.truncate();
        first = rows;
      } else if (dice < 0.55) {
        await bench.flush();
      } else if (dice < 0.7) {
        await bench.clock.advance(random.next() * 5000);
      } else if (dice < 0.85) {
        const owner = owners.at(-1);
        if (owner) snapshots.push(owner.snapshot());
      } else {
        // Mostly the one before is not closed: it lives on as one of old.
        if (random.next() < 0.3) await settle(bench, owners.at(-1)?.close());
        await takeOver();
      }
    }
    faults.before = undefined;
    faults.after = undefined;
    const tick = await bench.flush();
    const owner = owners.at(-1);
    await bench.until(() => (owner?.checkpoint(bench.vchannel) ?? 0n) >= tick, 120_000);
    await bench.clock.advance(20_000);
    const ids = await bench.tableIds();
    expect(ids.sort((a, b) => a - b)).toEqual(range(first, rows - first));
    for (const each of owners) await settle(bench, each.close());
  });
}

async function settle(
  bench: { clock: { advance(ms: number): Promise<void> } },
  promise: Promise<void> | undefined,
): Promise<void> {
  let done = false;
  const watched = Promise.resolve(promise).then(() => {
    done = true;
  });
  while (!done) await bench.clock.advance(100);
  await watched;
}
