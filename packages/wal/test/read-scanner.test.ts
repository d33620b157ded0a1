import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { crc32 } from "node:zlib";
import { MillraceError } from "@millrace/types";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFileBackend } from "../src/backends/file.node.ts";
import { createMemoryBackend, type LogBackend, type RecordBatch } from "../src/mod.ts";
import { scan } from "../src/read/scanner.ts";
import { createTailBuffer } from "../src/read/tail-buffer.ts";
import { settle } from "./helpers.ts";
import { createBatcher, createSource, type LiveSource, plain } from "./read-helpers.ts";

const pchannel = "test-dml_0";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const backends: [name: string, create: (dir: string) => LogBackend][] = [
  ["memory", () => createMemoryBackend()],
  ["file", (dir) => createFileBackend({ dir, segmentBytes: 64 * 1024 })],
];

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), "millrace-read-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A log, what reads from it, and the batches to write to it. */
async function start(create: (dir: string) => LogBackend, tailBytes = 64 * 1024 * 1024) {
  const log = await create(temporary()).open(pchannel, 1);
  onTestFinished(() => log.close());
  const source = createSource(log, createTailBuffer({ maxBytes: tailBytes }));
  const batcher = createBatcher();
  return { log, source, batcher };
}

/** A reader that is asked for batch after batch. */
function reader(source: LiveSource, sequence = 0) {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const { signal } = controller;
  const iterator = scan(source, { from: { sequence }, signal })[Symbol.asyncIterator]();
  const next = async (): Promise<RecordBatch | undefined> => {
    const { value, done } = await iterator.next();
    return done ? undefined : value;
  };
  return { next, abort: () => controller.abort() };
}

describe.each(backends)("a scan of a log of the %s backend", (_name, create) => {
  test("gets each batch once and in order, however it keeps up or falls behind", async () => {
    // What the readers do between two appends: how many batches each takes.
    const steps = fc.array(
      fc.record({
        append: fc.integer({ min: 0, max: 6 }),
        size: fc.integer({ min: 1, max: 3000 }),
        take: fc.tuple(fc.nat(8), fc.nat(8), fc.nat(8)),
      }),
      { minLength: 1, maxLength: 25 },
    );
    const property = fc.asyncProperty(steps, async (script) => {
      // A tail of a few batches, so that readers fall out of it and come back into it.
      const { source, batcher } = await start(create, 8000);
      const readers = [0, 0, 0].map(() => ({ ...reader(source), read: 0 }));
      let written = 0;
      for (const { append, size, take } of script) {
        for (let i = 0; i < append; i++, written++) {
          await source.append(batcher.next([plain(`${written}`.padEnd(size))]));
        }
        for (const [index, each] of readers.entries()) {
          const until = Math.min(written, each.read + (take[index] ?? 0));
          for (; each.read < until; each.read++) {
            expect((await each.next())?.sequence).toBe(each.read);
          }
        }
      }
      for (const each of readers) {
        for (; each.read < written; each.read++) {
          expect((await each.next())?.sequence).toBe(each.read);
        }
        each.abort();
        expect(await each.next()).toBeUndefined();
      }
    });
    await fc.assert(property, { numRuns: 40, seed: 11 });
  });

  test("that waits at the end is woken by what is appended, and ends when the log is closed", async () => {
    const { source, batcher } = await start(create);
    const { next } = reader(source);
    const first = next();
    await settle();
    await source.append(batcher.next([plain("a")]));
    expect((await first)?.sequence).toBe(0);
    const last = next();
    source.end(new MillraceError("ON_SHUTDOWN", "closed"));
    expect(await last).toBeUndefined();
  });

  test("of a log that failed reads all that is durable, then throws why", async () => {
    const { source, batcher } = await start(create, 0);
    await source.append(batcher.next([plain("a")]));
    const { next } = reader(source);
    source.end(new MillraceError("CHANNEL_FENCED", "term 2 owns the log"));
    expect((await next())?.sequence).toBe(0);
    await expect(next()).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  });

  test("is told where the log begins if its place was truncated, before and while it reads", async () => {
    const { log, source, batcher } = await start(create, 0);
    const write = async (): Promise<void> => {
      for (let i = 0; i < 40; i++) await source.append(batcher.next([plain("x".repeat(8000))]));
    };
    await write();
    const slow = reader(source);
    expect((await slow.next())?.sequence).toBe(0);
    await write();
    await log.truncate(79);
    // Its files may be written anew.
    await write();
    const { first } = log.bounds();
    expect(first).toBeGreaterThan(60);
    const gone = { code: "OUT_OF_RANGE", expected: String(first) };
    await expect(reader(source).next()).rejects.toMatchObject(gone);
    // What it had read ahead it may still see.
    const drain = async (): Promise<void> => {
      for (let next = 1; ; next++) expect((await slow.next())?.sequence).toBe(next);
    };
    await expect(drain()).rejects.toMatchObject(gone);
  });

  test("of a place beyond the end is refused", async () => {
    const { source } = await start(create);
    expect(() => reader(source, 1)).toThrow(expect.objectContaining({ code: "OUT_OF_RANGE" }));
  });
});

test("a log that ends early, or holds something else, is reported with the place", async () => {
  const { log, source, batcher } = await start(() => createMemoryBackend(), 0);
  for (let i = 0; i < 3; i++) await source.append(batcher.next([plain("x")]));
  const { read } = log;
  const lossy = (from: number) => read(from === 1 ? 3 : from);
  const skipping = (from: number) => read(from + 1);
  await expect(reader({ ...source, log: { ...log, read: lossy } }, 1).next()).rejects.toMatchObject(
    { code: "DATA_LOSS", expected: "batch 1" },
  );
  const skipped = reader({ ...source, log: { ...log, read: skipping } }, 1);
  await expect(skipped.next()).rejects.toMatchObject({ code: "DATA_LOSS", expected: "batch 1" });
});

test("a scan of a damaged file gets all before the damage, then the place of it", async () => {
  const dir = temporary();
  const log = await createFileBackend({ dir }).open(pchannel, 1);
  onTestFinished(() => log.close());
  const source = createSource(log, createTailBuffer({ maxBytes: 0 }));
  const batcher = createBatcher();
  const sizes: number[] = [];
  for (let i = 0; i < 20; i++) {
    const batch = batcher.next([plain("x".repeat(1000))]);
    sizes.push(batch.bytes.length);
    await source.append(batch);
  }
  const folder = join(dir, pchannel, "term-0000000000000001");
  const path = join(folder, readdirSync(folder).find((name) => name.endsWith(".log")) ?? "");
  const bytes = readFileSync(path);
  const at = sizes.slice(0, 12).reduce((sum, size) => sum + size, 0);
  bytes[at + 500] = 0xff ^ (bytes[at + 500] ?? 0);
  writeFileSync(path, bytes);
  const { next } = reader(source);
  for (let sequence = 0; sequence < 12; sequence++) {
    expect((await next())?.sequence).toBe(sequence);
  }
  await expect(next()).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringContaining(`batch 12 is damaged at byte ${at}`),
  });
});

test("a reader that stands still while much is written holds one batch and one window", async () => {
  const dir = temporary();
  const log = await createFileBackend({ dir, segmentBytes: 16 * 1024 * 1024 }).open(pchannel, 1);
  onTestFinished(() => log.close());
  const source = createSource(log, createTailBuffer({ maxBytes: 4 * 1024 * 1024 }));
  const batcher = createBatcher({ crc32 });
  const payload = "x".repeat(1024 * 1024);
  await source.append(batcher.next([plain(payload)]));
  const still = reader(source);
  await still.next();
  const before = memory();
  for (let written = 1; written < 250; written++) {
    await source.append(batcher.next([plain(payload)]));
    if (written % 100 === 0) await log.truncate(written - 100);
  }
  const held = memory() - before;
  // The tail's 4 MiB, a window of the file, and what the runtime has not let go yet.
  expect(held).toBeLessThan(32 * 1024 * 1024);
}, 30_000);

/** Bytes that buffers take, when the garbage is gone. */
function memory(): number {
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}
