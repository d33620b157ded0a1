import { expect, test } from "vitest";
import { createBatchMemory } from "../src/batch-memory.ts";
import {
  createMemoryBackend,
  decodeBatch,
  type LogBackend,
  openWal,
  type Wal,
} from "../src/mod.ts";
import { countingTicks, readTexts, text } from "./helpers.ts";

const kib = 1024;

test("memory that was released is used again for a batch of about that size", () => {
  const memory = createBatchMemory(1024 * kib);
  const first = memory.allocate(100 * kib);
  memory.release(first.subarray(0, 100 * kib));
  expect(memory.allocate(200 * kib).buffer).not.toBe(first.buffer);
  expect(memory.allocate(101 * kib).buffer).toBe(first.buffer);
  expect(memory.allocate(100 * kib).buffer).not.toBe(first.buffer);
});

test("no more memory is kept than is allowed", () => {
  const memory = createBatchMemory(300 * kib);
  const all = Array.from({ length: 5 }, () => memory.allocate(128 * kib));
  for (const bytes of all) memory.release(bytes);
  const before = new Set(all.map(({ buffer }) => buffer));
  const again = Array.from({ length: 5 }, () => memory.allocate(128 * kib).buffer);
  expect(again.filter((buffer) => before.has(buffer))).toHaveLength(2);
});

/** A backend that keeps copies, and remembers in which memory each batch came. */
function createCopyingBackend(): LogBackend & { buffers: ArrayBufferLike[] } {
  const inner = createMemoryBackend();
  const buffers: ArrayBufferLike[] = [];
  return {
    ...inner,
    buffers,
    async open(pchannel, term) {
      const log = await inner.open(pchannel, term);
      return {
        ...log,
        releasesBatches: true,
        append({ bytes }) {
          buffers.push(bytes.buffer);
          return log.append(decodeBatch(bytes.slice()));
        },
      };
    },
  };
}

const open = (backend: LogBackend): Promise<Wal> =>
  openWal({
    backend,
    pchannel: "p",
    term: 1,
    ticks: countingTicks(),
    vchannels: "any",
    tailBytes: 200 * kib,
  });
const record = (index: number): string => String(index).padEnd(50 * kib, String(index));
const write = async (wal: Wal, from: number, to: number): Promise<void> => {
  for (let i = from; i < to; i++) await wal.append([text(record(i))]);
};

test("a log that nobody reads is written from the same memory over and over", async () => {
  const backend = createCopyingBackend();
  const wal = await open(backend);
  await write(wal, 0, 50);
  expect(new Set(backend.buffers).size).toBeLessThan(10);
  const { signal } = new AbortController();
  const texts = await readTexts(wal.scan({ from: "earliest", signal }), 50);
  expect(texts).toEqual(Array.from({ length: 50 }, (_, i) => record(i)));
  await wal.close();
});

test("what a reader has got is never overwritten, however long it holds it", async () => {
  const backend = createCopyingBackend();
  const wal = await open(backend);
  await write(wal, 0, 10);
  const { signal } = new AbortController();
  const held: { index: number; payload: Uint8Array }[] = [];
  for await (const batch of wal.scan({ from: { sequence: 7 }, signal })) {
    for (const { payload } of batch.messages()) held.push({ index: batch.sequence, payload });
    if (batch.sequence === 9) break;
  }
  await write(wal, 10, 60);
  for (const { index, payload } of held) {
    expect(new TextDecoder().decode(payload) === record(index), `batch ${index}`).toBe(true);
  }
  await wal.close();
});

test("a log that holds on to its batches keeps their memory", async () => {
  const inner = createMemoryBackend();
  const wal = await open(inner);
  await write(wal, 0, 50);
  const { signal } = new AbortController();
  const texts = await readTexts(wal.scan({ from: "earliest", signal }), 50);
  expect(texts).toEqual(Array.from({ length: 50 }, (_, i) => record(i)));
  await wal.close();
});
