import { silentLogger } from "@millrace/types";
import { createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createMemoryBackend, type WalSnapshot } from "../src/mod.ts";
import { decodeWalSnapshot } from "../src/snapshot-codec.ts";
import { createSnapshotKeeper } from "../src/snapshot-keeper.ts";

const mib = 1024 * 1024;

function snapshotOf(keys: number, keyBytes = 10): WalSnapshot {
  return {
    sequence: 7,
    lastTick: 9n,
    checksum: 1,
    vchannels: [],
    txns: [],
    keys: Array.from({ length: keys }, (_, i) => ({
      vchannel: "v",
      key: String(i).padStart(keyBytes, "k"),
      id: { sequence: 6, index: i },
      firstTick: BigInt(i),
      count: 1,
    })),
  };
}

async function createKeeper(first: WalSnapshot) {
  let snapshot = first;
  let taken = 0;
  const clock = createVirtualClock();
  const kept: Uint8Array[] = [];
  const log = {
    ...(await createMemoryBackend().open("p", 1)),
    async keep(bytes: Uint8Array) {
      kept.push(bytes);
    },
  };
  const take = (): WalSnapshot => {
    taken++;
    return snapshot;
  };
  const keeper = createSnapshotKeeper({ log, take, logger: silentLogger, clock });
  const next = (newer: WalSnapshot): void => {
    snapshot = newer;
  };
  return { clock, kept, keeper, next, taken: () => taken };
}

test("a snapshot is kept every 64 MiB", async () => {
  const { clock, kept, keeper } = await createKeeper(snapshotOf(10));
  for (let written = 0; written < 200; written++) {
    keeper.wrote(mib);
    await clock.advance(0);
  }
  expect(kept.length).toBe(3);
});

test("a snapshot with many keys is encoded in turns, and kept whole", async () => {
  const snapshot = snapshotOf(5000);
  const { clock, kept, keeper } = await createKeeper(snapshot);
  keeper.wrote(64 * mib);
  let turns = 0;
  clock.schedule(0, function count() {
    turns++;
    if (kept.length === 0) clock.schedule(0, count);
  });
  await clock.advance(1);
  expect(turns).toBeGreaterThan(3);
  expect(kept.map(decodeWalSnapshot)).toEqual([snapshot]);
});

test("a snapshot that takes long does not replace a newer one", async () => {
  const { clock, kept, keeper, next, taken } = await createKeeper(snapshotOf(5000));
  const covered = keeper.cover(7);
  while (taken() === 0) await undefined;
  next({ ...snapshotOf(0), sequence: 8 });
  keeper.wrote(64 * mib);
  await clock.advance(10);
  await covered;
  expect(kept.map((bytes) => decodeWalSnapshot(bytes).sequence)).toEqual([7, 8]);
});

test("a snapshot is kept when one is needed: to cover what is not, and at the end", async () => {
  const { clock, kept, keeper } = await createKeeper(snapshotOf(0));
  await keeper.cover(0);
  expect(kept).toHaveLength(0);
  await keeper.cover(7);
  await keeper.cover(5);
  expect(kept).toHaveLength(1);
  keeper.wrote(1);
  await keeper.close();
  await clock.advance(0);
  expect(kept).toHaveLength(2);
});

test("of what is written, snapshots are a small part", async () => {
  const { clock, kept, keeper } = await createKeeper(snapshotOf(20_000, 500));
  for (let written = 0; written < 300; written++) {
    keeper.wrote(mib);
    await clock.advance(1);
  }
  const bytes = kept.reduce((sum, { length }) => sum + length, 0);
  expect(kept.length).toBeGreaterThan(1);
  expect(bytes).toBeLessThan((300 * mib) / 6);
});
