/**
 * A log of a few files on a simulated disk, known byte by byte, and what may be read of it once some of
 * those bytes are damaged.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { type BatchAppend, encodeBatch, type Log, type RecordBatch } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";
import { messagesOf, nameOf } from "./content.ts";
import {
  copyDisk,
  createFile,
  type DiskFile,
  type DiskFolder,
  readFile,
  syncFile,
  writeFile,
} from "./simulated-disk.ts";
import { createSimulatedFileSystem } from "./simulated-file-system.ts";

const segmentBytes = 4096;
const dir = "/logs";
const pchannel = "p";
/** What the last owner keeps beside the log. */
const keptBytes = new TextEncoder().encode("for the next owner");

/** A log that was written, and how. */
export interface SmallLog {
  disk: DiskFolder;
  /** What was acknowledged and not truncated. */
  batches: RecordBatch[];
  /** Where each of them stands. */
  places: Place[];
  /** Whether the last owner has closed it. */
  closed: boolean;
}

/** Where a batch stands. */
export interface Place {
  path: string;
  start: number;
  end: number;
}

/** Options of {@linkcode writeSmallLog}. */
export interface SmallLogOptions {
  /** Whether the last owner closes it. */
  closed: boolean;
  /** Whether the first files are truncated. Default: not. */
  truncated?: boolean;
  /** Makes another log of the same shape. Default "a". */
  name?: string;
}

/**
 * Writes nine batches as two owners, the first of which is not closed: plain appends, keys, and a
 * transaction with one large batch. The second owner has three files; truncated, the last two of them.
 */
export async function writeSmallLog(options: SmallLogOptions): Promise<SmallLog> {
  const { closed, truncated = false, name = "a" } = options;
  const fs = createSimulatedFileSystem();
  const backend = createFileBackend({ dir, segmentBytes, fs });
  const batches: RecordBatch[] = [];
  const write = async (log: Log, append: BatchAppend): Promise<void> => {
    const batch = batchBehind(batches.at(-1), log.term, append);
    await log.append(batch);
    batches.push(batch);
  };
  const plain = (number: number, size: number): BatchAppend => {
    const named = nameOf(name, number, 1 + (number % 2), size);
    return { messages: messagesOf(named), ...(number % 3 ? { idempotencyKey: named } : {}) };
  };
  const first = await backend.open(pchannel, 1);
  for (const [number, size] of [90, 50, 10].entries()) await write(first, plain(number, size));
  const second = await backend.open(pchannel, 2);
  await write(second, plain(3, 60));
  const bare = { vchannel: "v", header: new Uint8Array(0), payload: new Uint8Array(0) };
  await write(second, { messages: [{ ...bare, type: 900 }] });
  const txn = batches.at(-1)?.firstTick ?? 0n;
  await write(second, { messages: messagesOf(nameOf(name, 4, 1, 3700)), txn });
  await write(second, { messages: [{ ...bare, type: 901 }], txn });
  await write(second, plain(5, 70));
  await second.keep?.(keptBytes);
  await write(second, plain(6, 30));
  if (truncated) await second.truncate(5);
  const kept = batches.slice(second.bounds().first);
  if (closed) await second.close();
  return { disk: fs.disk, batches: kept, places: findPlaces(fs.disk, kept), closed };
}

/** Writes three batches that are large enough for their segment to get an index. */
export async function writeIndexedLog(): Promise<SmallLog> {
  const fs = createSimulatedFileSystem();
  const log = await createFileBackend({ dir, fs }).open(pchannel, 1);
  const batches: RecordBatch[] = [];
  for (let number = 0; number < 3; number++) {
    const messages = messagesOf(nameOf("a", number, 1, 600_000));
    const batch = batchBehind(batches.at(-1), 1, { messages });
    await log.append(batch);
    batches.push(batch);
  }
  await log.close();
  return { disk: fs.disk, batches, places: findPlaces(fs.disk, batches), closed: true };
}

/** The last batch of a log, read by going to its place at once. */
export async function readLast({ batches }: SmallLog, disk: DiskFolder): Promise<RecordBatch[]> {
  const fs = createSimulatedFileSystem({ disk });
  const reader = await createFileBackend({ dir, fs }).openReadOnly(pchannel);
  const read: RecordBatch[] = [];
  for await (const batch of reader.read(batches.at(-1)?.sequence ?? 0)) read.push(batch);
  return read;
}

function batchBehind(
  last: RecordBatch | undefined,
  term: number,
  append: BatchAppend,
): RecordBatch {
  return encodeBatch({
    term,
    sequence: (last?.sequence ?? -1) + 1,
    firstTick: (last?.lastTick ?? 0n) + 1n,
    previousChecksum: last?.checksum ?? 0,
    appends: [append],
  });
}

function findPlaces(disk: DiskFolder, batches: readonly RecordBatch[]): Place[] {
  const contents = [...filesOf(disk)].map(([path, file]) => [path, contentOf(file)] as const);
  return batches.map(({ bytes }) => {
    for (const [path, content] of contents) {
      const start = content.indexOf(bytes);
      if (start >= 0) return { path, start, end: start + bytes.length };
    }
    throw new Error("a batch that was acknowledged is in no file");
  });
}

/** What a damaged log gave its reader. */
export type Outcome =
  /** All that was acknowledged. */
  | { kind: "all" }
  /** A part of it, from the first on. */
  | { kind: "prefix"; length: number }
  /** An error that names the place. */
  | { kind: "error"; message: string };

/**
 * Reads a damaged log with a reader, then as its next owner, who also writes and reads again if he can.
 * Throws if either is given anything that was not written, or an error that does not name the place,
 * or if an owner loses what a reader was given. If `late`, it may be given something else before the
 * error.
 */
export async function readDamaged(log: SmallLog, disk: DiskFolder, late = false): Promise<Outcome> {
  const fs = createSimulatedFileSystem({ disk });
  const backend = createFileBackend({ dir, segmentBytes, fs });
  const read = await outcomeOf(log, late, async (take) => {
    const reader = await backend.openReadOnly(pchannel);
    for await (const batch of reader.read(reader.bounds().first)) take(batch);
  });
  const owned = await outcomeOf(log, late, async (take) => {
    const owner = await backend.open(pchannel, 7);
    if (owner.kept && Buffer.compare(owner.kept, keptBytes) !== 0) {
      throw new Error("silent: what was kept is not what the next owner is given");
    }
    let last: RecordBatch | undefined;
    for await (const batch of owner.read(owner.bounds().first)) {
      take(batch);
      last = batch;
    }
    const next = batchBehind(last, 7, { messages: messagesOf(nameOf("next", 0, 1, 100)) });
    await owner.append(next);
    const again: RecordBatch[] = [];
    for await (const batch of owner.read(next.sequence)) again.push(batch);
    if (again.length !== 1 || again[0]?.checksum !== next.checksum) {
      throw new Error("silent: what is written behind the damage is not read again");
    }
  });
  if (
    read.kind !== "error" &&
    owned.kind !== "error" &&
    lengthOf(log, owned) < lengthOf(log, read)
  ) {
    throw new Error("silent: the owner lost what a reader was given");
  }
  return owned;
}

function lengthOf(log: SmallLog, outcome: Outcome): number {
  return outcome.kind === "prefix" ? outcome.length : log.batches.length;
}

async function outcomeOf(
  { batches }: SmallLog,
  late: boolean,
  read: (take: (batch: RecordBatch) => void) => Promise<void>,
): Promise<Outcome> {
  let length = 0;
  let wrong: Error | undefined;
  try {
    await read((batch) => {
      const expected = batches[length];
      if (!expected || Buffer.compare(expected.bytes, batch.bytes) !== 0) {
        wrong = new Error(`silent: batch ${batch.sequence} is not the one that was written there`);
        if (!late) throw wrong;
      }
      length++;
    });
    if (wrong) throw wrong;
  } catch (error) {
    if (MillraceError.is(error, "DATA_LOSS") && error.message.includes(`${dir}/${pchannel}`)) {
      return { kind: "error", message: error.message };
    }
    throw error;
  }
  return length === batches.length ? { kind: "all" } : { kind: "prefix", length };
}

/** The files of a disk by their paths. */
export function* filesOf(folder: DiskFolder, path = ""): Generator<[string, DiskFile]> {
  for (const [name, node] of folder.entries) {
    if (node.kind === "file") yield [`${path}/${name}`, node];
    else yield* filesOf(node, `${path}/${name}`);
  }
}

/** All that a file holds. */
export function contentOf(file: DiskFile): Buffer {
  return Buffer.from(readFile(file).buffer);
}

function fileOf(content: Uint8Array): DiskFile {
  const file = createFile();
  writeFile(file, content, 0);
  syncFile(file);
  return file;
}

/** How many batches there are from the first on to one that is not where and as it was written. */
export function countIntact({ places, batches }: SmallLog, disk: DiskFolder): number {
  const contents = new Map([...filesOf(disk)].map(([path, file]) => [path, contentOf(file)]));
  const hit = places.findIndex(({ path, start, end }, i) => {
    const now = contents.get(path)?.subarray(start, end) ?? Buffer.alloc(0);
    return Buffer.compare(now, batches[i]?.bytes ?? Buffer.alloc(0)) !== 0;
  });
  return hit < 0 ? places.length : hit;
}

/** What damage amounted to. */
export type Verdict =
  /** All is read as it was written. */
  | "harmless"
  /** An error names the place. */
  | "detected"
  /** The last batches of a log that was not closed are taken for a write that was cut off. */
  | "torn";

/**
 * Reads a damaged log and says what the damage amounted to. Throws if it was silent: if anything is
 * missing without an error, except for batches at the end of the last file of a log that was not
 * closed, which cannot be told from a write that a crash has cut off. Of those exactly the ones before
 * the first damaged one must be there. `late`: see {@linkcode readDamaged}.
 */
export async function judge(log: SmallLog, disk: DiskFolder, late = false): Promise<Verdict> {
  const intact = countIntact(log, disk);
  const outcome = await readDamaged(log, disk, late);
  if (outcome.kind === "all") return "harmless";
  if (outcome.kind === "error") return "detected";
  const last = log.places.at(-1)?.path;
  const inLastFile = log.places[outcome.length]?.path === last;
  if (!log.closed && inLastFile && outcome.length === intact) return "torn";
  throw new Error(
    `silent: of ${log.batches.length} batches ${outcome.length} are read, ${intact} are intact`,
  );
}

/** A copy of a disk, with something done to one of its files. */
export function damage(
  disk: DiskFolder,
  path: string,
  change: (content: Buffer) => Uint8Array | undefined,
): DiskFolder {
  const copy = copyDisk(disk);
  damageHere(copy, path, change);
  return copy;
}

/** The same to the disk itself; `undefined` removes the file. */
export function damageHere(
  disk: DiskFolder,
  path: string,
  change: (content: Buffer) => Uint8Array | undefined,
): void {
  const names = path.split("/").slice(1);
  const name = names.pop() ?? "";
  let folder = disk;
  for (const step of names) folder = folder.entries.get(step) as DiskFolder;
  const content = change(contentOf(folder.entries.get(name) as DiskFile));
  const file = content && fileOf(content);
  for (const entries of [folder.entries, folder.durable]) {
    if (file) entries.set(name, file);
    else entries.delete(name);
  }
}
