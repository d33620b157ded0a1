import { createMemoryMetaStore, createMemoryObjectStore } from "@millrace/storage";
import type { RecordBatch } from "@millrace/wal";
import { createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createSnapshots } from "../src/recovery.ts";
import { createRetention } from "../src/retention.ts";
import { decodeSnapshot, encodeSnapshot, type PchannelSnapshot } from "../src/snapshot-codec.ts";

const { signal } = new AbortController();

function snapshot(sequence: number): PchannelSnapshot {
  return {
    wal: {
      sequence,
      lastTick: 2n ** 63n - 1n,
      checksum: 0xffff_ffff,
      mark: { sequence, hint: "here" },
      vchannels: [
        {
          name: "p_1v0",
          created: new Uint8Array([0, 255]),
          id: { sequence: 1, index: 2 },
          tick: 5n,
          schemaVersion: 3,
          partitions: ["1", "9007199254740993"],
          segments: [{ id: 6n, partition: "1", rows: 2, bytes: 3, maxRows: 4, maxBytes: 5 }],
        },
      ],
      txns: [
        {
          txn: 8n,
          vchannel: "p_1v0",
          sequence: 1,
          lastTick: 9n,
          leaseMs: 10,
          key: "b",
          bytes: 11,
          keys: [{ key: "k", id: { sequence: 1, index: 3 }, firstTick: 9n, count: 1 }],
        },
      ],
      keys: Array.from({ length: 2500 }, (_, index) => ({
        vchannel: "p_1v0",
        key: `key "${index}"\n`,
        id: { sequence: index, index: 1 },
        firstTick: BigInt(index) << 40n,
        count: 3,
      })),
    },
    flusher: {
      sequence: sequence - 1,
      lastTick: 7n,
      vchannels: [{ name: "p_1v0", collection: new Uint8Array([1, 2, 3]) }],
      tables: [{ path: "tables/a-1", version: 4, committed: { p_1v0: 9 } }],
    },
    retention: { sequence, bytes: 10, marks: [{ sequence: 0, ms: 5, bytes: 0 }] },
  };
}

async function bytesOf(value: PchannelSnapshot): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of encodeSnapshot(value)) chunks.push(chunk);
  return new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
}

test("a snapshot is read as it was written", async () => {
  expect(decodeSnapshot("s", await bytesOf(snapshot(100)))).toEqual(snapshot(100));
});

test("a snapshot that is cut anywhere between its lines, or is none, is refused", async () => {
  const bytes = await bytesOf(snapshot(100));
  const text = new TextDecoder().decode(bytes);
  const cut = text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1);
  for (const bad of [cut, "", "{}", text.slice(0, 100)]) {
    expect(() => decodeSnapshot("s", new TextEncoder().encode(bad))).toThrow("cannot be read");
  }
});

function setUp() {
  const store = createMemoryObjectStore();
  const meta = createMemoryMetaStore({ clock: createVirtualClock() });
  const keys = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of store.list()) found.push(key);
    return found;
  };
  return { keys, snapshots: createSnapshots({ store, meta }) };
}

test("the last snapshot counts, and older objects are removed", async () => {
  const { keys, snapshots } = setUp();
  expect(await snapshots.claim("p", 1, signal)).toBeUndefined();
  await snapshots.save("p", 1, snapshot(10), signal);
  await snapshots.save("p", 1, snapshot(20), signal);
  expect(await keys()).toHaveLength(1);
  expect((await snapshots.claim("p", 2, signal))?.wal.sequence).toBe(20);
});

test("an owner of old can neither save nor claim once a new one has claimed", async () => {
  const { keys, snapshots } = setUp();
  await snapshots.claim("p", 1, signal);
  await snapshots.save("p", 1, snapshot(10), signal);
  await snapshots.claim("p", 3, signal);
  const before = await keys();
  await expect(snapshots.save("p", 1, snapshot(30), signal)).rejects.toMatchObject({
    code: "CHANNEL_FENCED",
    expected: "3",
  });
  await expect(snapshots.claim("p", 2, signal)).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  expect(await keys()).toEqual(before);
  expect((await snapshots.claim("p", 4, signal))?.wal.sequence).toBe(10);
});

function batch(sequence: number, ms: number, size: number): RecordBatch {
  const firstTick = BigInt(ms) << 18n;
  return { sequence, firstTick, bytes: new Uint8Array(size) } as RecordBatch;
}

test("batches may go when they are too old, or when enough came after them", () => {
  const retention = createRetention({ ageMs: 6400, bytes: 6400 });
  for (let sequence = 0; sequence < 32; sequence++) {
    retention.observe(batch(sequence, sequence * 100, 100));
  }
  expect(retention.horizon(3200)).toBe(0);
  // By age: batches before number 16 are older than 6400 ms at 8000 ms.
  expect(retention.horizon(8000)).toBe(16);
  // By size, at a time when none is old.
  for (let sequence = 32; sequence < 100; sequence++) {
    retention.observe(batch(sequence, 8000, 100));
  }
  expect(retention.horizon(8000)).toBe(36);
});

test("the limits of a retention may change", () => {
  let limits = { ageMs: 6400, bytes: 6400 };
  const retention = createRetention(() => limits);
  for (let sequence = 0; sequence < 32; sequence++) {
    retention.observe(batch(sequence, sequence * 100, 100));
  }
  expect(retention.horizon(3200)).toBe(0);
  limits = { ageMs: 1600, bytes: 6400 };
  expect(retention.horizon(3200)).toBe(16);
  limits = { ageMs: 6400, bytes: 800 };
  expect(retention.horizon(3200)).toBe(24);
});

test("a retention goes on from its snapshot and does not count a batch twice", () => {
  const limits = { ageMs: 6400, bytes: 6400 };
  const first = createRetention(limits);
  for (let sequence = 0; sequence < 50; sequence++) first.observe(batch(sequence, 0, 100));
  const second = createRetention(limits, first.snapshot());
  for (let sequence = 20; sequence < 80; sequence++) second.observe(batch(sequence, 0, 100));
  expect(second.horizon(0)).toBe(16);
  expect(second.snapshot().marks.length).toBeLessThanOrEqual(66);
});
