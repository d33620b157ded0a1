import { stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { FileSystem } from "../src/backends/file.node.ts";
import type { Log } from "../src/log.ts";
import { createFaultyFiles } from "./faulty-files.node.ts";
import {
  createFileFixture,
  type FileFixture,
  collect,
  range,
  sequencesOf,
} from "./file-fixture.node.ts";

const segmentBytes = 4096;
let fixture: FileFixture;

beforeEach(async () => {
  fixture = await createFileFixture();
});
afterEach(() => fixture.close());

async function inodesOf(term: number, pattern: RegExp): Promise<number[]> {
  const names = (await fixture.files(term)).filter((name) => pattern.test(name));
  const all = await Promise.all(names.map((name) => stat(join(fixture.folder(term), name))));
  return all.map(({ ino }) => ino);
}

const segments = /^\d+\.log$/;
const spares = /^spare-/;

test("an owner takes over the spares of the one before it", async () => {
  const first = await fixture.open(1, { segmentBytes });
  await fixture.fill(first, 12, 1000);
  await first.truncate(11);
  const left = await inodesOf(1, spares);
  expect(left.length).toBe(2);
  await first.close();
  const second = await fixture.open(2, { segmentBytes });
  expect(await inodesOf(1, spares)).toEqual([]);
  await fixture.fill(second, 18, 1000);
  expect((await inodesOf(2, segments)).slice(0, 2).sort()).toEqual(left.sort());
  expect(await sequencesOf(second, 11)).toEqual(range(11, 18));
  expect(await sequencesOf(await fixture.open(3), 11)).toEqual(range(11, 18));
});

test("segments of a former owner become spares, but not the last one, which it may still write", async () => {
  const first = await fixture.open(1, { segmentBytes });
  await fixture.fill(first, 5, 1000);
  const written = await inodesOf(1, segments);
  const second = await fixture.open(2, { segmentBytes });
  await fixture.fill(second, 9, 1000);
  await second.truncate(8);
  const kept = await inodesOf(2, spares);
  expect(written.length).toBe(2);
  expect(kept).toContain(written[0]);
  expect(kept).not.toContain(written[1]);
  await expect(fixture.files(1)).rejects.toThrow("ENOENT");
});

test("a write of a former owner that is still under way lands in none of the next one's segments", async () => {
  const gate = createGate();
  const old = await fixture.open(1, { segmentBytes, fs: gate.fs });
  await fixture.fill(old, 2, 1000);
  gate.stopAt(0);
  const late = old.append(fixture.batch(1, 2, 1000));
  const ended = expect(late).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  await gate.reached;
  const next = await fixture.open(2, { segmentBytes });
  await fixture.fill(next, 6, 1000);
  await next.truncate(5);
  await fixture.fill(next, 15, 1000);
  gate.release();
  await ended;
  expect(await sequencesOf(next)).toEqual(range(next.bounds().first, 15));
});

test("an owner that does not know yet that it was followed cannot harm the next one's segments", async () => {
  let steps = 0;
  // The old owner stands still at each operation in turn while the next one takes over everything.
  for (let step = 0; await takeOverAt(step); step++) steps++;
  expect(steps).toBeGreaterThan(12);
});

/** `false` if the old owner is through before this step. */
async function takeOverAt(step: number): Promise<boolean> {
  await fixture.close();
  fixture = await createFileFixture();
  const gate = createGate();
  const old = await fixture.open(1, { segmentBytes, fs: gate.fs });
  await fixture.fill(old, 12, 1000);
  await old.truncate(11);
  gate.stopAt(step);
  const late = (async () => {
    await fixture.fill(old, 16, 1900);
    await old.truncate(15);
  })().catch((error) => error);
  try {
    if (await Promise.race([gate.reached, late.then(() => true)])) return false;
    const next = await fixture.open(2, { segmentBytes });
    const { next: start } = next.bounds();
    await fixture.fill(next, start + 5, 1900);
    await next.truncate(start + 4);
    await fixture.fill(next, start + 9, 1900);
    const before = await collect(next);
    gate.release();
    const error = await late;
    // A truncation that was under way may end well: what it forgets had its leave.
    if (error !== undefined) expect(error).toMatchObject({ code: "CHANNEL_FENCED" });
    await expect(old.append(fixture.batch(1, old.bounds().next))).rejects.toMatchObject({
      code: "CHANNEL_FENCED",
    });
    const after = await collect(next);
    expect(after.map(({ bytes }) => bytes)).toEqual(before.map(({ bytes }) => bytes));
    expect(after.at(-1)?.sequence).toBe(start + 8);
    expect(await sequencesOf(await fixture.open(3))).toEqual(after.map(({ sequence }) => sequence));
    return true;
  } finally {
    gate.release();
  }
}

/** A file system that stands still before one of its operations. */
function createGate(): {
  fs: FileSystem;
  reached: Promise<void>;
  stopAt(step: number): void;
  release(): void;
} {
  let left = Number.POSITIVE_INFINITY;
  let reach: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  async function pass(): Promise<void> {
    if (left-- > 0) return;
    left = Number.POSITIVE_INFINITY;
    reach();
    await released;
  }
  const inner = createFaultyFiles({
    async write({ go }) {
      await pass();
      return go();
    },
  });
  const fs: FileSystem = {
    ...inner,
    async open(path, mode) {
      if (mode !== "read") await pass();
      return inner.open(path, mode);
    },
    async rename(from, to) {
      await pass();
      return inner.rename(from, to);
    },
    async syncFolder(path) {
      await pass();
      return inner.syncFolder(path);
    },
  };
  return {
    fs,
    reached,
    stopAt(step) {
      left = step;
    },
    release: () => release(),
  };
}

test("what is left in a spare is neither taken for live batches nor for ones behind damage", async () => {
  const log = await fixture.open(1, { segmentBytes });
  await fixture.fill(log, 3, 1000);
  let owner: Log = log;
  for (let term = 2; term < 12; term++) {
    await fixture.fill(owner, owner.bounds().next + 7, 1000);
    await owner.truncate(owner.bounds().next - 2);
    // One small batch in a segment that is full of what was there before.
    await fixture.fill(owner, owner.bounds().next + 1, 700 + 24 * term);
    const { next } = owner.bounds();
    // Not closed: the end is looked for.
    owner = await fixture.open(term, { segmentBytes });
    expect(owner.bounds().next).toBe(next);
    const reader = await fixture.openReader();
    expect((await sequencesOf(reader)).at(-1)).toBe(next - 1);
  }
});
