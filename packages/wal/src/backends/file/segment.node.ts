/**
 * Segments: the files that batches stand in, one after the other.
 *
 * @module
 */

import { join } from "node:path";
import { MillraceError } from "@millrace/types";
import type { Crc32 } from "../../crc32.ts";
import { peekBatch, tryDecodeBatch } from "../../decode.ts";
import { headerBytes } from "../../format.ts";
import type { RecordBatch } from "../../record-batch.ts";
import type { FileSystem, OpenFile } from "./file-system.ts";
import { explain, readFully } from "./files.node.ts";

/** Where a log's files are, and how they are read. */
export interface LogFolder {
  fs: FileSystem;
  /** Of the pchannel. */
  folder: string;
  crc32: Crc32;
}

/** A file of batches. */
export interface Segment {
  readonly path: string;
  /** The term of all its batches. */
  readonly term: number;
  /** The sequence of its first batch. */
  readonly first: number;
  /** The sequence that follows its last batch; `undefined` while it is being written. */
  end: number | undefined;
  /** Where some of its batches stand, by ascending sequence, to begin reading near a place. */
  readonly index: SegmentMark[];
}

interface SegmentMark {
  sequence: number;
  offset: number;
}

/** How many bytes lie between two marks. */
const markEvery = 1024 * 1024;
/** How many bytes are read at once. */
const windowBytes = 1024 * 1024;

/** Creates the description of a segment that holds, or will hold, batches from `first` on. */
export function createSegment(folder: string, term: number, first: number): Segment {
  const path = join(folder, `${String(first).padStart(16, "0")}.log`);
  return { path, term, first, end: undefined, index: [] };
}

/** The segments in a folder, by ascending first sequence; each ends where the next begins. */
export async function listSegments(
  fs: FileSystem,
  folder: string,
  term: number,
): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await fs.list(folder)).sort()) {
    const match = /^(\d{16})\.log$/.exec(name);
    if (!match) continue;
    const segment = createSegment(folder, term, Number(match[1]));
    const previous = segments.at(-1);
    if (previous) previous.end = segment.first;
    segments.push(segment);
  }
  return segments;
}

/** Remembers where a batch stands, now and then. */
export function markBatch(segment: Segment, sequence: number, offset: number): void {
  const last = segment.index.at(-1);
  if (offset < (last?.offset ?? 0) + markEvery || sequence <= (last?.sequence ?? 0)) return;
  segment.index.push({ sequence, offset });
}

/** Reads the batches of a segment one by one. */
export interface SegmentReader {
  /**
   * The next batch, verified; `undefined` where there is none, because the rest was never written or
   * is damaged.
   */
  read(): Promise<RecordBatch | undefined>;
  /** Where the next batch begins, in bytes. */
  offset(): number;
  /** The sequence of the next batch. */
  sequence(): number;
  /** Why `read` answered `undefined`: what is wrong, or nothing if the rest was never written. */
  problem(): string | undefined;
  close(): Promise<void>;
}

/** Opens a segment at the mark nearest before `from`. */
export async function openSegmentReader(
  { fs, crc32 }: LogFolder,
  segment: Segment,
  from: number,
): Promise<SegmentReader> {
  const file = await fs.open(segment.path, "read");
  let { sequence, offset } = findMark(segment, from);
  let window: Uint8Array = new Uint8Array(0);
  let windowStart = offset;
  let problem: string | undefined;

  async function fill(bytes: number): Promise<void> {
    window = await readBytes(file, offset, bytes);
    windowStart = offset;
  }

  /** The batch at the present place, if it is whole within the window. */
  function take(): RecordBatch | undefined {
    const result = tryDecodeBatch(window, offset - windowStart, crc32);
    if (typeof result === "string") {
      const begin = window.subarray(offset - windowStart).subarray(0, 64);
      problem = begin.every((byte) => byte === 0) ? undefined : result;
      return undefined;
    }
    if (result.sequence !== sequence || result.term !== segment.term) {
      problem = `it is batch ${result.sequence} of term ${result.term}`;
      return undefined;
    }
    markBatch(segment, sequence, offset);
    offset += result.bytes.length;
    sequence++;
    return result;
  }

  async function read(): Promise<RecordBatch | undefined> {
    const batch = take();
    if (batch) return batch;
    // The window may be too short, or older than what was written since.
    await fill(windowBytes);
    const start = peekBatch(window, 0);
    if (start.kind === "unknown-version") {
      throw damaged(segment, sequence, offset, `its format version is ${start.version}`);
    }
    if (start.kind === "batch" && start.length > window.length) await fill(start.length);
    return take();
  }

  return {
    read,
    offset: () => offset,
    sequence: () => sequence,
    problem: () => problem,
    close: () => file.close(),
  };
}

/**
 * Where a segment ends whose writer may have been cut off: behind its last whole batch. A write that
 * was cut off leaves damage at the end only; damage with whole batches behind it is `DATA_LOSS`.
 */
export async function findEnd(log: LogFolder, segment: Segment): Promise<number> {
  const reader = await openSegmentReader(log, segment, Number.POSITIVE_INFINITY);
  try {
    for (;;) {
      while (await reader.read());
      const behind = await findBatchBehind(log, segment, reader);
      if (!behind) return reader.sequence();
      // It may have been written meanwhile, and all before it.
      if (await reader.read()) continue;
      const problem = reader.problem() ?? "it is missing";
      throw damaged(
        segment,
        reader.sequence(),
        reader.offset(),
        `${problem}, and batch ${behind.sequence} stands behind it`,
      );
    }
  } finally {
    await reader.close();
  }
}

/** The error for a batch that is not as it was written. */
export function damaged(
  segment: Segment,
  sequence: number,
  offset: number,
  problem: string,
): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `batch ${sequence} is damaged at byte ${offset} of ${segment.path}: ${problem}`,
    { expected: `batch ${sequence} of term ${segment.term}` },
  );
}

/** A whole batch of the segment's term somewhere behind the place where reading stopped. */
async function findBatchBehind(
  { fs, crc32 }: LogFolder,
  segment: Segment,
  reader: SegmentReader,
): Promise<RecordBatch | undefined> {
  const file = await fs.open(segment.path, "read");
  try {
    let offset = reader.offset();
    for (;;) {
      const window = await readBytes(file, offset, windowBytes);
      // A header that the window cuts is looked at again, at the start of the next one.
      for (let at = 0; at + headerBytes <= window.length; at += 8) {
        const start = peekBatch(window, at);
        if (start.kind !== "batch") continue;
        const whole = await readBytes(file, offset + at, start.length);
        const batch = tryDecodeBatch(whole, 0, crc32);
        if (typeof batch === "string") continue;
        if (batch.term === segment.term && batch.sequence > reader.sequence()) return batch;
      }
      if (window.length < windowBytes) return undefined;
      offset += windowBytes - headerBytes;
    }
  } finally {
    await file.close();
  }
}

function findMark(segment: Segment, from: number): SegmentMark {
  const { index } = segment;
  let low = 0;
  let high = index.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((index[middle]?.sequence ?? 0) <= from) low = middle + 1;
    else high = middle;
  }
  return index[low - 1] ?? { sequence: segment.first, offset: 0 };
}

async function readBytes(file: OpenFile, position: number, bytes: number): Promise<Uint8Array> {
  try {
    return await readFully(file, position, bytes);
  } catch (error) {
    throw explain(error, "the log cannot be read");
  }
}
