import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readKept, writeKept } from "../src/backends/file/kept.node.ts";
import type { FileSystem } from "../src/backends/file.node.ts";
import type { Log, LogMark } from "../src/log.ts";
import { createFaultyFiles, systemError } from "./faulty-files.node.ts";
import {
  createFileFixture,
  type FileFixture,
  pchannel,
  range,
  sequencesOf,
} from "./file-fixture.node.ts";

let fixture: FileFixture;
/** How many bytes of segments were read through `fs`. */
let bytesRead: number;
let fs: FileSystem;

beforeEach(async () => {
  fixture = await createFileFixture();
  bytesRead = 0;
  fs = createFaultyFiles({
    onRead(path, bytes) {
      if (path.endsWith(".log")) bytesRead += bytes;
    },
  });
});
afterEach(() => fixture.close());

/** Leaves the folder as a process does that is killed now. */
async function crash(): Promise<void> {
  const folder = join(fixture.dir, pchannel);
  await cp(folder, join(fixture.dir, "crashed"), { recursive: true });
  await rm(folder, { recursive: true });
  await cp(join(fixture.dir, "crashed"), folder, { recursive: true });
  await rm(join(fixture.dir, "crashed"), { recursive: true });
}

async function bytesReadBy<T>(task: () => Promise<T>): Promise<[T, number]> {
  bytesRead = 0;
  const result = await task();
  return [result, bytesRead];
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = ({ kept }: Log): string | undefined => kept && new TextDecoder().decode(kept);
const mebibyte = 1024 * 1024;

describe("a mark", () => {
  test("of a log that was not closed spares reading what is before it", async () => {
    const log = await fixture.open(1);
    await fixture.fill(log, 40, mebibyte / 4);
    const mark = log.mark?.();
    expect(mark?.sequence).toBe(40);
    await fixture.fill(log, 43, 1000);
    await crash();
    const [next, read] = await bytesReadBy(() => fixture.open(2, { fs, mark }));
    expect(next.bounds()).toEqual({ first: 0, next: 43 });
    expect(read).toBeLessThan(3 * mebibyte);
    expect(await sequencesOf(next)).toEqual(range(0, 43));
  });

  test("at the very end, and of a log that is empty, is as good", async () => {
    const log = await fixture.open(1);
    const first = log.mark?.();
    await fixture.fill(log, 5);
    const last = log.mark?.();
    await crash();
    expect((await fixture.open(2, { mark: last })).bounds().next).toBe(5);
    await rm(join(fixture.folder(1), "end"));
    expect((await fixture.open(3, { mark: first })).bounds().next).toBe(5);
  });

  test("of an earlier segment or term does not hide what follows", async () => {
    const log = await fixture.open(1, { segmentBytes: 4096 });
    await fixture.fill(log, 2, 1000);
    const mark = log.mark?.();
    await fixture.fill(log, 20, 1000);
    await crash();
    const second = await fixture.open(2, { mark });
    expect(second.bounds().next).toBe(20);
    await fixture.fill(second, 25);
    await crash();
    expect((await fixture.open(3, { mark })).bounds().next).toBe(25);
  });

  test("that is wrong costs time, nothing else", async () => {
    const log = await fixture.open(1);
    await fixture.fill(log, 5);
    const true5 = log.mark?.() as LogMark;
    await fixture.fill(log, 8);
    const true8 = log.mark?.() as LogMark;
    const [term, first, offset, last] = true5.hint.split(":").map(Number) as number[];
    const hints = [
      "",
      "nonsense",
      "1:0:0:0",
      "1:0:99999999:99999000",
      "1:7:0:0",
      `2:${first}:${offset}:${last}`,
      `${term}:${first}:${Number(offset) + 8}:${last}`,
      `${term}:${first}:${offset}:${Number(last) - 8}`,
      `${term}:${first}:${offset}:9999999999999999`,
      true8.hint,
    ];
    let owner = 2;
    for (const mark of [
      ...hints.map((hint) => ({ sequence: 5, hint })),
      { ...true5, sequence: 6 },
    ]) {
      await crash();
      await rm(join(fixture.folder(1), "end"), { force: true });
      await rm(join(fixture.folder(1), "0000000000000007.last.log"), { force: true });
      const next = await fixture.open(owner++, { mark });
      expect(next.bounds(), mark.hint).toEqual({ first: 0, next: 8 });
      expect(await sequencesOf(next)).toEqual(range(0, 8));
    }
  });

  test("does not hide damage behind it", async () => {
    const log = await fixture.open(1);
    await fixture.fill(log, 3);
    const mark = log.mark?.() as LogMark;
    await fixture.fill(log, 6);
    await crash();
    const segment = join(fixture.folder(1), "0000000000000000.log");
    const content = await readFile(segment);
    const place = Number(mark.hint.split(":")[2]);
    content[place + 70] = (content[place + 70] ?? 0) ^ 1;
    await writeFile(segment, content);
    await expect(fixture.open(2, { mark })).rejects.toThrow(`batch 3 is damaged at byte ${place}`);
  });
});

describe("what an owner kept", () => {
  test("is there for the next one, also when it did not close, and the log is read from there", async () => {
    const log = await fixture.open(1);
    expect(log.kept).toBeUndefined();
    await fixture.fill(log, 40, mebibyte / 4);
    await log.keep?.(bytes("older"));
    await log.keep?.(bytes("forty"));
    expect(textOf(log)).toBe("forty");
    await fixture.fill(log, 42);
    await crash();
    const [second, read] = await bytesReadBy(() => fixture.open(2, { fs }));
    expect(second.bounds().next).toBe(42);
    expect(read).toBeLessThan(4 * mebibyte);
    expect(textOf(second)).toBe("forty");
    await second.close();
    const [third, none] = await bytesReadBy(() => fixture.open(3, { fs }));
    expect(textOf(third)).toBe("forty");
    expect(none).toBe(0);
    await third.keep?.(bytes("third"));
    expect(textOf(await fixture.open(4))).toBe("third");
  });

  test("is carried over when its folder is dropped", async () => {
    const first = await fixture.open(1, { segmentBytes: 4096 });
    await fixture.fill(first, 5, 1000);
    await first.keep?.(bytes("five"));
    await first.close();
    for (const term of [2, 3]) {
      const log = await fixture.open(term, { segmentBytes: 4096 });
      await fixture.fill(log, term * 10, 1000);
      await log.truncate(term * 10);
      expect(textOf(log)).toBe("five");
      await log.close();
    }
    await expect(fixture.files(1)).rejects.toThrow("ENOENT");
    await expect(fixture.files(2)).rejects.toThrow("ENOENT");
    expect(textOf(await fixture.open(4))).toBe("five");
  });

  test("does not count if it is damaged, at whatever byte", async () => {
    const log = { fs, folder: join(fixture.dir, pchannel), crc32 };
    await fixture.fill(await fixture.open(1), 3);
    const kept = { term: 1, bytes: bytes("three"), mark: { sequence: 3, hint: "1:0:360:240" } };
    await writeKept(log, kept);
    expect(await readKept(log, 1)).toEqual(kept);
    const path = join(fixture.folder(1), "kept");
    const sound = await readFile(path);
    for (let at = 0; at < sound.length; at++) {
      const flipped = Buffer.from(sound);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      await writeFile(path, flipped);
      expect(await readKept(log, 1), `byte ${at}`).toBeUndefined();
      await writeFile(path, sound.subarray(0, at));
      expect(await readKept(log, 1), `cut at ${at}`).toBeUndefined();
    }
  });

  test("does not count if it is damaged: the one before it does", async () => {
    const first = await fixture.open(1);
    await fixture.fill(first, 3);
    await first.keep?.(bytes("three"));
    await first.close();
    const second = await fixture.open(2);
    await fixture.fill(second, 6);
    await second.keep?.(bytes("six"));
    await crash();
    const path = join(fixture.folder(2), "kept");
    const sound = await readFile(path);
    await writeFile(path, sound.subarray(1));
    expect(textOf(await fixture.open(3))).toBe("three");
  });

  test("shows that a log has lost its end: it says how far all was durable", async () => {
    const first = await fixture.open(1);
    await fixture.fill(first, 6);
    await first.keep?.(bytes("six"));
    await fixture.fill(first, 7);
    await crash();
    const path = join(fixture.folder(1), "0000000000000000.log");
    const sound = await readFile(path);
    const last = sound.lastIndexOf("MLRB");
    const due = sound.lastIndexOf("MLRB", last - 1);
    expect(last).toBeGreaterThan(due);
    await writeFile(path, sound.subarray(0, due));
    await expect(fixture.open(2)).rejects.toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringContaining(fixture.folder(1)),
    });
    // What came later may have been cut off while it was written.
    await writeFile(path, sound.subarray(0, last));
    expect((await fixture.open(3)).bounds().next).toBe(6);
  });

  test("is replaced whole or not at all, and the log goes on when that fails", async () => {
    let full = false;
    const faulty = createFaultyFiles({
      async write({ path, parts, go }) {
        if (!full || !path.includes("kept")) return go();
        await go([(parts[0] as Uint8Array).subarray(0, 5)]);
        throw systemError("ENOSPC");
      },
    });
    const log = await fixture.open(1, { fs: faulty });
    await fixture.fill(log, 2);
    await log.keep?.(bytes("two"));
    full = true;
    await expect(log.keep?.(bytes("lost"))).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
    expect(textOf(log)).toBe("two");
    await fixture.fill(log, 4);
    await crash();
    expect(textOf(await fixture.open(2))).toBe("two");
    expect((await fixture.files(1)).filter((name) => name.includes("tmp"))).toEqual([]);
  });

  test("by an owner that was followed is refused", async () => {
    const old = await fixture.open(1);
    await fixture.fill(old, 2);
    await old.keep?.(bytes("two"));
    const current = await fixture.open(2);
    await expect(old.keep?.(bytes("late"))).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
    expect(textOf(current)).toBe("two");
    expect(textOf(await fixture.open(3))).toBe("two");
  });
});

describe("reading from the middle of a long log", () => {
  const segmentBytes = 8 * mebibyte;

  async function readOne(log: { read: Log["read"] }, from: number): Promise<number> {
    const [sequence, read] = await bytesReadBy(async () => {
      for await (const batch of log.read(from)) return batch.sequence;
      return -1;
    });
    expect(sequence).toBe(from);
    return read;
  }

  test("reads about a mebibyte too much, also at the next owner and in old segments", async () => {
    const log = await fixture.open(1, { segmentBytes, fs });
    await fixture.fill(log, 400, 50_000);
    for (const from of [3, 100, 250, 399]) {
      expect(await readOne(log, from)).toBeLessThan(4 * mebibyte);
    }
    await log.close();
    expect((await fixture.files(1)).filter((name) => name.endsWith(".index")).length).toBe(3);
    const next = await fixture.open(2, { segmentBytes, fs });
    const reader = await fixture.openReader({ fs });
    for (const from of [3, 100, 250, 399]) {
      expect(await readOne(next, from)).toBeLessThan(4 * mebibyte);
      expect(await readOne(reader, from)).toBeLessThan(4 * mebibyte);
    }
  });

  test("works without the index, and with one that is damaged or of another segment", async () => {
    const log = await fixture.open(1, { segmentBytes });
    await fixture.fill(log, 400, 50_000);
    await log.close();
    const indexes = (await fixture.files(1)).filter((name) => name.endsWith(".index"));
    const [one = "", two = ""] = indexes.map((name) => join(fixture.folder(1), name));
    const sound = await readFile(one);
    for (const content of [await readFile(two), sound.fill(0, 20, 30), "", "MLIX"]) {
      await writeFile(one, content);
      const reader = await fixture.openReader();
      for (const from of [50, 120, 160, 300]) expect(await readOne(reader, from)).toBe(0);
    }
    for (const name of indexes) await rm(join(fixture.folder(1), name));
    expect(await sequencesOf(await fixture.openReader(), 130)).toEqual(range(130, 400));
  });

  test("goes away with its segments", async () => {
    const log = await fixture.open(1, { segmentBytes });
    await fixture.fill(log, 400, 50_000);
    await log.truncate(399);
    const left = await fixture.files(1);
    expect(left.filter((name) => /^\d+\.(log|index)$/.test(name)).length).toBe(1);
  });
});

describe("a reader that is asked again and again", () => {
  test("reads only what is new of the last segment", async () => {
    const log = await fixture.open(1);
    await fixture.fill(log, 20, mebibyte / 2);
    const reader = await fixture.openReader({ fs });
    expect(await sequencesOf(reader)).toEqual(range(0, 20));
    for (let next = 21; next <= 25; next++) {
      await fixture.fill(log, next, 1000);
      const [sequences, read] = await bytesReadBy(() => sequencesOf(reader, next - 1));
      expect(sequences).toEqual([next - 1]);
      expect(read).toBeLessThan(5 * mebibyte);
    }
  });

  test("does not search all that a former use of the file left, each time", async () => {
    const segmentBytes = 16 * mebibyte;
    const log = await fixture.open(1, { segmentBytes });
    await fixture.fill(log, 33, mebibyte);
    await log.truncate(32);
    await fixture.fill(log, 46, mebibyte);
    await fixture.fill(log, 48, 1000);
    const reader = await fixture.openReader({ fs });
    expect((await sequencesOf(reader)).at(-1)).toBe(47);
    for (let next = 49; next <= 52; next++) {
      await fixture.fill(log, next, 1000);
      const [, progress] = await bytesReadBy(() => sequencesOf(reader, next - 1));
      expect(progress).toBeLessThan(5 * mebibyte);
    }
    await sequencesOf(reader, 51);
    const [, idle] = await bytesReadBy(() => sequencesOf(reader, 51));
    expect(idle).toBeLessThan(9 * mebibyte);
  });

  test("finds damage that the log went on behind, at the next time at the latest", async () => {
    const log = await fixture.open(1);
    await fixture.fill(log, 3);
    const reader = await fixture.openReader();
    await fixture.fill(log, 4);
    const place = Number(log.mark?.().hint.split(":")[2]);
    await fixture.fill(log, 6);
    const path = join(fixture.folder(1), "0000000000000000.log");
    const content = await readFile(path);
    content[place + 70] = (content[place + 70] ?? 0) ^ 1;
    await writeFile(path, content);
    expect(await sequencesOf(reader, 0)).toEqual(range(0, 4));
    await expect(sequencesOf(reader, 0)).rejects.toThrow(`batch 4 is damaged at byte ${place}`);
    await expect(fixture.openReader()).rejects.toThrow("batch 4 is damaged");
  });

  test("follows from segment to segment, from owner to owner, and over truncation", async () => {
    const log = await fixture.open(1, { segmentBytes: 4096 });
    await fixture.fill(log, 1, 1000);
    const reader = await fixture.openReader();
    let seen = 0;
    let owner = log;
    for (let term = 2; term <= 6; term++) {
      for (let round = 1; round <= 3; round++) {
        await fixture.fill(owner, owner.bounds().next + 4, 1000);
        const sequences = await sequencesOf(reader, seen);
        expect(sequences).toEqual(range(seen, owner.bounds().next));
        seen = owner.bounds().next;
      }
      owner = await fixture.open(term, { segmentBytes: 4096 });
      if (term % 2 === 0) await owner.truncate(seen - 5);
    }
    const { first } = owner.bounds();
    expect(await sequencesOf(reader, first)).toEqual(range(first, seen));
    expect(reader.bounds()).toEqual({ first, next: seen });
    await expect(sequencesOf(reader, first - 1)).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
  });
});
