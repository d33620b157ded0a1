/**
 * Segments: the files that batches stand in, one after the other.
 *
 * @module
 */

import { join } from "node:path";
import { MillraceError } from "@millrace/types";
import type { Crc32 } from "../../crc32.ts";
import { isSound, peekBatch, tryDecodeBatch } from "../../decode.ts";
import type { RecordBatch } from "../../record-batch.ts";
import type { FileSystem } from "./file-system.ts";
import { createFileWindow } from "./file-window.node.ts";
import { explain } from "./files.node.ts";

/** Where a log's files are, and how they are read. */
export interface LogFolder {
  fs: FileSystem;
  /** Of the pchannel. */
  folder: string;
  crc32: Crc32;
}

/** Where a batch stands, or will stand, in a segment. */
export interface Place {
  sequence: number;
  /** In bytes. */
  offset: number;
}

/** How far a segment was read. */
export interface ScannedPlace extends Place {
  /** It was made sure that nothing stands behind. */
  searched: boolean;
}

/** The folder of a term. */
export function termFolder({ folder }: Pick<LogFolder, "folder">, term: number): string {
  return join(folder, `term-${digits(term)}`);
}

/** A sequence or a term as it stands in a file name, so that names sort as they do. */
export function digits(number: number): string {
  return String(number).padStart(16, "0");
}

/** A file of batches. */
export interface Segment {
  readonly path: string;
  /** The name of the file. */
  readonly name: string;
  /** The term of all its batches. */
  readonly term: number;
  /** The sequence of its first batch. */
  readonly first: number;
  /** It holds only the last batch of its term, copied by the owner that followed. */
  readonly copy: boolean;
  /** The sequence that follows its last batch; `undefined` while it is being written. */
  end: number | undefined;
  /** Where some of its batches stand, by ascending sequence, to begin reading near a place. */
  index: Place[];
  /** There is no more to its index than what is known. */
  indexed: boolean;
  /** How far it was read and found sound. */
  scanned: ScannedPlace | undefined;
}

/** How many bytes lie between two places of an index. */
const indexEvery = 1024 * 1024;
/** How many bytes are read at once, unless batches are large. */
const windowBytes = 1024 * 1024;
/** How many bytes are read at once if batches are large: some of them, or one that is larger still. */
const largeWindowBytes = 8 * 1024 * 1024;

/** Up to this length, or that of the batch before it, a batch may be cut in two by what is read ahead. */
const minRoomBytes = 64 * 1024;

const namePattern = /^(\d{16})(\.last)?\.log$/;

/** `true` if a segment can have this file name. */
export function isSegmentName(name: string): boolean {
  return namePattern.test(name);
}

/** Creates the description of a segment that holds, or will hold, batches from `first` on. */
export function createSegment(folder: string, term: number, first: number, copy = false): Segment {
  const name = `${digits(first)}${copy ? ".last" : ""}.log`;
  const path = join(folder, name);
  return {
    path,
    name,
    term,
    first,
    copy,
    end: undefined,
    index: [],
    indexed: false,
    scanned: undefined,
  };
}

/**
 * The segments in a term's folder that count, by ascending first sequence; each ends where the next
 * begins. Of two that begin with the same batch the copy counts. Those behind `last` do not.
 */
export async function listSegments(
  fs: FileSystem,
  folder: string,
  term: number,
  last?: string,
): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const segment of await listFiles(fs, folder, term)) {
    if (last !== undefined && compareNames(segment.name, last) > 0) break;
    const previous = segments.at(-1);
    if (previous?.first === segment.first) segments.pop();
    else if (previous) previous.end = segment.first;
    segments.push(segment);
  }
  return segments;
}

/** All segments in a term's folder, by ascending first sequence, a copy behind what it copies. */
export async function listFiles(fs: FileSystem, folder: string, term: number): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await fs.list(folder)).sort(compareNames)) {
    const match = namePattern.exec(name);
    if (match) segments.push(createSegment(folder, term, Number(match[1]), match[2] !== undefined));
  }
  return segments;
}

function compareNames(a: string, b: string): number {
  // "….last.log" is less than "….log" as text, but behind it in the log.
  const [first, second] = [a.slice(0, 16), b.slice(0, 16)];
  if (first !== second) return first < second ? -1 : 1;
  return a.length - b.length;
}

/** Remembers where a batch stands, now and then. */
export function indexBatch(segment: Segment, sequence: number, offset: number): void {
  const last = segment.index.at(-1);
  if (offset < (last?.offset ?? 0) + indexEvery || sequence <= (last?.sequence ?? 0)) return;
  segment.index.push({ sequence, offset });
}

/** The start of a segment. */
export function startOf(segment: Segment): Place {
  return { sequence: segment.first, offset: 0 };
}

/** Reads the batches of a segment one by one. */
export interface SegmentReader {
  /** The next batch if it is in memory already; if it is not, `read` says why. */
  take(): RecordBatch | undefined;
  /**
   * The next batch, verified; `undefined` where there is none, because the rest was never written or
   * is damaged.
   */
  read(): Promise<RecordBatch | undefined>;
  /** Where the next batch begins. */
  place(): Place;
  /** Goes on at another place. */
  seek(place: Place): void;
  /** Why `read` answered `undefined`: what is wrong, or nothing if the rest was never written. */
  problem(): string | undefined;
  close(): Promise<void>;
}

/** Opens a segment at a place. */
export async function openSegmentReader(
  { fs, crc32 }: LogFolder,
  segment: Segment,
  place: Place,
): Promise<SegmentReader> {
  const window = createFileWindow(await fs.open(segment.path, "read"), place.offset);
  let { sequence, offset } = place;
  let problem: string | undefined;
  /** The length of the last batch. */
  let length = 0;
  /** How often the window was moved on. */
  let moves = 0;

  async function fill(bytes: number): Promise<void> {
    try {
      await window.read(offset, bytes);
    } catch (error) {
      throw explain(error, `${segment.path} cannot be read`);
    }
  }

  /** The batch at the present place, if it is whole within the window. */
  function take(): RecordBatch | undefined {
    const bytes = window.bytes();
    const at = offset - window.start();
    const result = tryDecodeBatch(bytes, at, crc32);
    if (typeof result === "string") {
      const begin = bytes.subarray(at).subarray(0, 64);
      problem = begin.every((byte) => byte === 0) ? undefined : result;
      return undefined;
    }
    if (result.sequence !== sequence || result.term !== segment.term) {
      problem = `it is batch ${result.sequence} of term ${result.term}`;
      return undefined;
    }
    indexBatch(segment, sequence, offset);
    length = result.bytes.length;
    offset += length;
    sequence++;
    return result;
  }

  async function read(): Promise<RecordBatch | undefined> {
    let batch = take();
    if (batch) return batch;
    if (await window.slide(offset)) batch = take();
    // The window may be too short, or older than what was written since.
    batch ??= await takeAnew();
    // Whoever comes through one window will want the next.
    if (batch && ++moves > 1) window.readAhead(windowFor(length), Math.max(length, minRoomBytes));
    return batch;
  }

  async function takeAnew(): Promise<RecordBatch | undefined> {
    const cut = peekBatch(window.bytes(), offset - window.start());
    await fill(windowFor(cut.kind === "batch" ? cut.length : 0));
    const start = peekBatch(window.bytes(), 0);
    if (start.kind !== "none" && start.length > window.bytes().length) {
      await fill(windowFor(start.length));
    }
    // If it is not sound, its version is what stood there before a write that was cut off.
    if (start.kind === "unknown-version" && isSound(window.bytes(), 0, start.length, crc32)) {
      throw damaged(segment, { sequence, offset }, `its format version is ${start.version}`);
    }
    return take();
  }

  return {
    take,
    read,
    place: () => ({ sequence, offset }),
    seek(to) {
      ({ sequence, offset } = to);
      window.seek(offset);
    },
    problem: () => problem,
    close: () => window.close(),
  };
}

/** How much to read where a batch of this length begins. */
function windowFor(length: number): number {
  return Math.max(windowBytes, length, Math.min(4 * length, largeWindowBytes));
}

/** The error for a batch that is not as it was written. */
export function damaged(segment: Segment, place: Place, problem: string): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `batch ${place.sequence} is damaged at byte ${place.offset} of ${segment.path}: ${problem}`,
    { expected: `batch ${place.sequence} of term ${segment.term}` },
  );
}
