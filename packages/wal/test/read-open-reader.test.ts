import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createVirtualClock } from "@millrace/types/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFileBackend } from "../src/backends/file.node.ts";
import { createMemoryBackend, type LogBackend, openWalReader, type WalReader } from "../src/mod.ts";
import { textsOf } from "./helpers.ts";
import { begin, body, commit, createBatcher, plain, textsOfDelivery } from "./read-helpers.ts";

const pchannel = "test-dml_0";
const { signal } = new AbortController();

/** Two backends over the same logs: the owner's and the reader's. */
const pairs: [name: string, create: () => [LogBackend, LogBackend]][] = [
  [
    "memory",
    () => {
      const backend = createMemoryBackend();
      return [backend, backend];
    },
  ],
  [
    "file",
    () => {
      const dir = mkdtempSync(join(tmpdir(), "millrace-reader-"));
      onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
      return [createFileBackend({ dir, segmentBytes: 4096 }), createFileBackend({ dir })];
    },
  ],
];

describe.each(pairs)("a reader of a log that another owns, in the %s backend", (_name, create) => {
  test("reads to the end as it stands and ends there, if it has no clock", async () => {
    const [owner, backend] = create();
    const log = await owner.open(pchannel, 1);
    const batcher = createBatcher();
    const reader = await openWalReader({ backend, pchannel });
    const texts = async (): Promise<string[]> => {
      const all: string[] = [];
      for await (const batch of reader.scan({ from: "earliest", signal })) {
        all.push(...textsOf(batch));
      }
      return all;
    };
    expect(await texts()).toEqual([]);
    const txn = batcher.nextTick();
    await log.append(batcher.next([plain("a"), begin()]));
    await log.append(batcher.next([body(txn + 1n, "b")]));
    expect(await texts()).toEqual(["a", "", "b"]);
    expect(reader.bounds()).toEqual({ first: 0, next: 2 });
    await log.append(batcher.next([commit(txn + 1n)]));
    const deliveries: string[] = [];
    for await (const delivery of reader.read({ from: "earliest", signal })) {
      deliveries.push(textsOfDelivery(delivery));
    }
    expect(deliveries).toEqual(["a", "b"]);
    await log.close();
    await reader.close();
  });

  test("goes on with what comes, also from the next owner, until it is closed", async () => {
    const [owner, backend] = create();
    const clock = createVirtualClock();
    const log = await owner.open(pchannel, 1);
    const batcher = createBatcher();
    await log.append(batcher.next([plain("old")]));
    const reader = await openWalReader({ backend, pchannel, clock, pollMs: 50 });
    const other = await openWalReader({ backend, pchannel, clock, pollMs: 50 });
    await log.append(batcher.next([plain("older than the reading")]));
    const latest: string[] = [];
    const all: string[] = [];
    const follow = async (
      { scan }: WalReader,
      from: "earliest" | "latest",
      texts: string[],
    ): Promise<void> => {
      for await (const batch of scan({ from, signal })) texts.push(...textsOf(batch));
    };
    const reading = [follow(other, "latest", latest), follow(reader, "earliest", all)];
    const until = async (condition: () => boolean): Promise<void> => {
      while (!condition()) {
        await clock.advance(50);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const reached = (count: number): Promise<void> =>
      until(() => all.length === count && latest.length === count - 2);
    // The one from the latest place has seen where that is.
    await until(() => other.bounds().next === 2);
    await reached(2);
    await log.append(batcher.next([plain("new")]));
    await reached(3);
    await log.close();
    const successor = await owner.open(pchannel, 2);
    const next = batcher.next([plain("newest")], 2);
    await successor.append(next);
    await reached(4);
    await Promise.all([reader.close(), other.close()]);
    await Promise.all(reading);
    expect(all).toEqual(["old", "older than the reading", "new", "newest"]);
    expect(latest).toEqual(["new", "newest"]);
    expect(clock.pending).toBe(0);
    await successor.close();
  });

  test("is told where the log begins if its place was truncated, and refuses what is beyond", async () => {
    const [owner, backend] = create();
    const log = await owner.open(pchannel, 1);
    const batcher = createBatcher();
    const reader = await openWalReader({ backend, pchannel });
    for (let i = 0; i < 10; i++) await log.append(batcher.next([plain("x".repeat(3000))]));
    await log.truncate(9);
    const scanFrom = async (sequence: number): Promise<void> => {
      for await (const _ of reader.scan({ from: { sequence }, signal }));
    };
    await expect(scanFrom(0)).rejects.toMatchObject({
      code: "OUT_OF_RANGE",
      expected: String(log.bounds().first),
    });
    await expect(scanFrom(11)).rejects.toMatchObject({ code: "OUT_OF_RANGE", expected: "10" });
    await log.close();
  });
});

test("a slow reader is told so when what comes next is truncated meanwhile", async () => {
  const [owner, backend] = pairs[1]?.[1]() ?? [];
  if (!owner || !backend) throw new Error("there is a pair of file backends");
  const log = await owner.open(pchannel, 1);
  onTestFinished(() => log.close());
  const batcher = createBatcher();
  const write = async (): Promise<void> => {
    for (let i = 0; i < 500; i++) await log.append(batcher.next([plain("x".repeat(4000))]));
  };
  await write();
  const reader = await openWalReader({ backend, pchannel });
  const scan = reader.scan({ from: "earliest", signal })[Symbol.asyncIterator]();
  let next = 0;
  expect((await scan.next()).value?.sequence).toBe(next++);
  await log.truncate(500);
  await write();
  const drain = async (): Promise<void> => {
    // What it had read ahead it may still see, and nothing else.
    for (;;) expect((await scan.next()).value?.sequence).toBe(next++);
  };
  await expect(drain()).rejects.toMatchObject({
    code: "OUT_OF_RANGE",
    expected: String(log.bounds().first),
  });
  expect(next).toBeLessThan(500);
});

test("a log that was never written cannot be opened for reading", async () => {
  const backend = createMemoryBackend();
  await expect(openWalReader({ backend, pchannel })).rejects.toMatchObject({ code: "NOT_FOUND" });
});
