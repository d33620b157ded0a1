import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MillraceError } from "@millrace/types";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFileBackend, type FileBackendOptions } from "../src/backends/file.node.ts";
import {
  type LogBackend,
  type LogReader,
  openWal,
  type RecordBatch,
  type Wal,
} from "../src/mod.ts";
import { noteOf } from "./file-fixture.node.ts";
import { countingTicks, text, textsOf } from "./helpers.ts";

const pchannel = "p";
const signal = new AbortController().signal;
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "millrace-crash-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

function createBackend(name: string, options: Partial<FileBackendOptions> = {}): LogBackend {
  return createFileBackend({ dir: join(root, name), ...options });
}

function open(backend: LogBackend, term: number): Promise<Wal> {
  return openWal({ backend, pchannel, term, ticks: countingTicks(), vchannels: "any" });
}

async function batchesOf(wal: Wal): Promise<RecordBatch[]> {
  const batches: RecordBatch[] = [];
  const { first, next } = wal.bounds();
  if (first === next) return batches;
  for await (const batch of wal.scan({ from: "earliest", signal })) {
    batches.push(batch);
    if (batch.sequence === next - 1) break;
  }
  return batches;
}

async function readSequences(log: LogReader): Promise<number[]> {
  const sequences: number[] = [];
  for await (const { sequence } of log.read(0)) sequences.push(sequence);
  return sequences;
}

async function textsIn(wal: Wal): Promise<string[]> {
  return (await batchesOf(wal)).flatMap(textsOf);
}

function folderOf(name: string, term: number): string {
  return join(root, name, pchannel, `term-${String(term).padStart(16, "0")}`);
}

async function lastSegment(name: string, term: number): Promise<string> {
  const folder = folderOf(name, term);
  const segments = (await readdir(folder)).filter((file) => file.endsWith(".log")).sort();
  return join(folder, segments.at(-1) ?? "");
}

/** Writes three batches as term 1 and copies the folder as a crash would leave it. */
async function crashAfterThree(): Promise<{ segment: string; ends: number[]; bytes: Uint8Array }> {
  const wal = await open(createBackend("live"), 1);
  for (const payload of ["a", "b", "c"]) await wal.append([text(payload)]);
  await cp(join(root, "live"), join(root, "crashed"), { recursive: true });
  const lengths = (await batchesOf(wal)).map((batch) => batch.bytes.length);
  const ends = lengths.map((_, i) => lengths.slice(0, i + 1).reduce((sum, n) => sum + n, 0));
  await wal.close();
  const segment = await lastSegment("crashed", 1);
  // A copy: slices of a Buffer share its memory.
  return { segment, ends, bytes: new Uint8Array(await readFile(segment)).slice(0, 4096) };
}

async function reopenWith(segment: string, bytes: Uint8Array, term: number): Promise<Wal> {
  const backend = createBackend("crashed");
  await writeFile(segment, bytes);
  await rm(join(folderOf("crashed", 1), "fence"), { force: true });
  await rm(join(folderOf("crashed", 1), "end"), { force: true });
  for (const name of await readdir(folderOf("crashed", 1))) {
    if (name.endsWith(".last.log")) await rm(join(folderOf("crashed", 1), name));
  }
  await rm(folderOf("crashed", term), { recursive: true, force: true });
  return open(backend, term);
}

test("a log that is cut off anywhere has its whole batches, and goes on behind them", async () => {
  const { segment, ends, bytes } = await crashAfterThree();
  const last = ends.at(-1) ?? 0;
  const lengths = Array.from({ length: last + 1 }, (_, length) => length);
  const nearEnds = (length: number): boolean => ends.some((end) => Math.abs(end - length) <= 2);
  for (const length of lengths.filter((at) => at % 11 === 0 || nearEnds(at))) {
    // Of the file as it was preallocated, or of the file without its end.
    const cut = length % 2 === 0 ? bytes.slice(0, length) : bytes.slice().fill(0, length);
    // The last bytes of a batch are zeros: without them it is whole all the same.
    const whole = ends.filter((end) => bytes.slice(0, end).every((byte, i) => byte === cut[i]));
    const expected = ["a", "b", "c"].slice(0, whole.length);
    const wal = await reopenWith(segment, cut, 2);
    expect(await textsIn(wal), `cut at ${length}`).toEqual(expected);
    await wal.append([text("new")]);
    expect(await textsIn(wal), `cut at ${length}`).toEqual([...expected, "new"]);
    await wal.close();
  }
});

test("a write that was cut off in its middle, with its end written, is not taken for a batch", async () => {
  const { segment, ends, bytes } = await crashAfterThree();
  const [, start = 0, end = 0] = ends;
  for (const hole of [start, start + 8, start + 64, end - 16]) {
    const torn = bytes.slice().fill(0, hole, hole + 8);
    // The whole of it must have been something else than zeros for this to be damage.
    if (torn.every((byte, i) => byte === bytes[i])) torn[hole] = 1;
    const wal = await reopenWith(segment, torn, 2);
    expect(await textsIn(wal)).toEqual(["a", "b"]);
    await wal.close();
  }
});

test("damage with whole batches behind it is reported with its place, never skipped", async () => {
  const { segment, ends, bytes } = await crashAfterThree();
  const [start = 0, end = 0] = ends;
  for (let at = start; at < end; at++) {
    const flipped = bytes.slice();
    flipped[at] = (flipped[at] ?? 0) ^ 0x10;
    const failure = await reopenWith(segment, flipped, 2).catch((error) => error);
    expect(MillraceError.is(failure, "DATA_LOSS"), `byte ${at}`).toBe(true);
    expect(failure.message).toContain(`batch 1 is damaged at byte ${start}`);
  }
  const zeroed = bytes.slice().fill(0, start, end);
  await expect(reopenWith(segment, zeroed, 2)).rejects.toThrow("batch 2 stands behind it");
});

test("what a closed log holds is known: its last batch cannot be lost unnoticed", async () => {
  const wal = await open(createBackend("live"), 1);
  for (const payload of ["a", "b"]) await wal.append([text(payload)]);
  const [first] = await batchesOf(wal);
  await wal.close();
  const segment = await lastSegment("live", 1);
  const bytes = await readFile(segment);
  const start = first?.bytes.length ?? 0;
  bytes[start + 70] = (bytes[start + 70] ?? 0) ^ 1;
  await writeFile(segment, bytes);
  const log = await createBackend("live").open(pchannel, 2);
  expect(log.bounds().next).toBe(2);
  await expect(readSequences(log)).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringContaining(`batch 1 is damaged at byte ${start} of ${segment}`),
  });
});

test("a segment that is gone is reported", async () => {
  const backend = createBackend("live", { segmentBytes: 4096 });
  const wal = await open(backend, 1);
  for (let i = 0; i < 12; i++) await wal.append([text("x".repeat(1000))]);
  await wal.close();
  const segments = (await readdir(folderOf("live", 1))).filter((name) => name.endsWith(".log"));
  expect(segments.length).toBeGreaterThan(3);
  for (const gone of [segments[1], segments[0], segments.at(-1)]) {
    await cp(join(root, "live"), join(root, "copy"), { recursive: true });
    await rm(join(folderOf("copy", 1), gone ?? ""));
    const opening = createBackend("copy").open(pchannel, 2);
    await expect(opening.then(readSequences)).rejects.toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringMatching(/^the file with batch \d+ is missing|: it is missing$/),
    });
    await rm(join(root, "copy"), { recursive: true });
  }
});

test("a fence or an end that is damaged is reported, not followed", async () => {
  const wal = await open(createBackend("live"), 1);
  await wal.append([text("a")]);
  await wal.close();
  await (await open(createBackend("live"), 2)).close();
  for (const name of ["fence", "end"]) {
    const path = join(folderOf("live", 1), name);
    const sound = await readFile(path);
    const wrong = name === "fence" ? "1" : "99999999999999999 -";
    for (const content of ["", "x", "2", "1 -", `${noteOf("2")}0`, noteOf("1e3"), noteOf(wrong)]) {
      await writeFile(path, content);
      await expect(open(createBackend("live"), 3), `${name} ${content}`).rejects.toMatchObject({
        code: "DATA_LOSS",
        message: `${path} is damaged: it holds ${JSON.stringify(content)}`,
      });
      await rm(folderOf("live", 3), { recursive: true });
    }
    await writeFile(path, sound);
  }
});

test("a fence, a term or the place where a log begins that is missing is reported", async () => {
  const backend = createBackend("live", { segmentBytes: 4096 });
  for (const term of [1, 2, 3]) {
    const wal = await open(backend, term);
    for (let i = 0; i < 3; i++) await wal.append([text("x".repeat(3000))]);
    if (term === 2) await wal.truncate(4);
    await wal.close();
  }
  const [first = ""] = (await readdir(join(root, "live", pchannel))).filter((name) =>
    name.startsWith("first-"),
  );
  const fence = join("term-0000000000000002", "fence");
  for (const gone of [first, fence, "term-0000000000000003"]) {
    await cp(join(root, "live"), join(root, "copy"), { recursive: true });
    await rm(join(root, "copy", pchannel, gone), { recursive: true });
    const copy = createBackend("copy");
    const expected = { code: "DATA_LOSS", message: expect.stringContaining(join(root, "copy")) };
    await expect(copy.openReadOnly(pchannel), gone).rejects.toMatchObject(expected);
    await expect(open(copy, 4), gone).rejects.toMatchObject(expected);
    await rm(join(root, "copy"), { recursive: true });
  }
});

test("a crash between any two steps of a takeover loses nothing", async () => {
  const backend = createBackend("live");
  const old = await open(backend, 1);
  await old.append([text("a")]);
  // The next owner died after its folder, after its fence, and after the end was written down.
  await mkdir(folderOf("live", 2));
  const third = await open(backend, 3);
  await third.append([text("b")]);
  await writeFile(join(folderOf("live", 3), "fence"), noteOf("4"));
  await mkdir(folderOf("live", 4));
  await expect(third.append([text("lost")])).rejects.toMatchObject({
    code: "CHANNEL_FENCED",
    expected: "4",
  });
  const fifth = await open(backend, 5);
  const texts = await textsIn(fifth);
  expect(texts.slice(0, 2)).toEqual(["a", "b"]);
  await fifth.append([text("c")]);
  expect(await textsIn(await open(backend, 6))).toEqual([...texts, "c"]);
  await expect(open(backend, 2)).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
});

test("terms that were truncated leave nothing behind", async () => {
  const backend = createBackend("live", { segmentBytes: 4096 });
  for (let term = 1; term <= 5; term++) {
    const wal = await open(backend, term);
    for (let i = 0; i < 5; i++) await wal.append([text("x".repeat(1500))]);
    await wal.truncate(wal.bounds().next);
    await wal.close();
  }
  const left = await readdir(join(root, "live", pchannel));
  expect(
    left.filter((name) => name.startsWith("term-")).map((name) => Number(name.slice(5))),
  ).toEqual([0, 5]);
  expect(left.filter((name) => name.startsWith("first-")).length).toBe(1);
  expect((await open(backend, 6)).bounds().next).toBe(25);
});

test("files that were truncated are written again, and what was left in them is never read", async () => {
  const backend = createBackend("live", { segmentBytes: 8192 });
  const wal = await open(backend, 1);
  const payload = (i: number) => `${i}`.padEnd(1000, ".");
  const inodes = new Set<number>();
  let files = 0;
  for (let i = 0; i < 100; i++) {
    const { id } = await wal.append([text(payload(i))]);
    const { ino } = await stat(await lastSegment("live", 1));
    if (id.sequence % 7 === 0) files++;
    inodes.add(ino);
    await wal.truncate(i - 5);
    const { first, next } = wal.bounds();
    const expected = Array.from({ length: next - first }, (_, n) => payload(first + n));
    expect(await textsIn(wal)).toEqual(expected);
    if (i % 9 !== 0) continue;
    await rm(join(root, "crashed"), { recursive: true, force: true });
    await cp(join(root, "live"), join(root, "crashed"), { recursive: true });
    const recovered = await open(createBackend("crashed", { segmentBytes: 8192 }), 2);
    expect(await textsIn(recovered)).toEqual(expected);
    await recovered.close();
  }
  expect(inodes.size).toBeLessThan(files / 2);
  await wal.close();
});

test("an owner whose term was truncated away cannot acknowledge", async () => {
  const backend = createBackend("live");
  const old = await open(backend, 1);
  await old.append([text("a")]);
  const current = await open(backend, 2);
  await current.append([text("b")]);
  await current.truncate(2);
  await expect(old.append([text("lost")])).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  expect(await textsIn(current)).toEqual(["b"]);
});

test("names that would leave the folder are refused", async () => {
  const backend = createBackend("live");
  for (const name of ["", ".", "..", "../x", "a/b", "a\0b", "x".repeat(201)]) {
    await expect(backend.open(name, 1)).rejects.toMatchObject({ field: "pchannel" });
    await expect(backend.openReadOnly(name)).rejects.toMatchObject({ field: "pchannel" });
  }
  await expect(backend.open(pchannel, 0)).rejects.toMatchObject({ field: "term" });
});
