/**
 * Where a segment ends whose writer may have been cut off, and marks, which make that quick to find.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { peekBatch, tryDecodeBatch } from "../../decode.ts";
import { headerBytes, headerField } from "../../format.ts";
import type { LogMark } from "../../log.ts";
import type { RecordBatch } from "../../record-batch.ts";
import type { OpenFile } from "./file-system.ts";
import { closeQuietly, readFully, readInto } from "./files.node.ts";
import {
  damaged,
  type LogFolder,
  openSegmentReader,
  type Place,
  type ScannedPlace,
  type Segment,
  type SegmentReader,
  startOf,
} from "./segment.node.ts";

/** The end of what a segment holds. */
export interface SegmentEnd extends ScannedPlace {
  /** The last batch, if it was not yet known to be there. */
  batch: RecordBatch | undefined;
}

/** How many bytes are searched at once. */
const searchBytes = 2 * 1024 * 1024;
const magicBytes = Buffer.from("MLRB", "latin1");

/** How {@linkcode findEnd} goes about it. */
export interface FindEndOptions {
  /** Where it may begin. */
  marks?: readonly LogMark[] | undefined;
  /** Somebody is going to rely on the end, for ever. */
  final: boolean;
}

/**
 * Finds the end of a segment: the place behind its last whole batch. It begins where it was before in
 * this segment, else at a mark that fits, else at the start. A write that was cut off leaves damage at
 * the end only; damage with whole batches behind it is `DATA_LOSS`.
 */
export async function findEnd(
  log: LogFolder,
  segment: Segment,
  { marks = [], final }: FindEndOptions,
): Promise<SegmentEnd> {
  const reader = await openSegmentReader(log, segment, segment.scanned ?? startOf(segment));
  try {
    if (!segment.scanned) await seekMark(segment, reader, marks);
    let last: RecordBatch | undefined;
    for (;;) {
      for (let batch = await reader.read(); batch; batch = await reader.read()) last = batch;
      const end = reader.place();
      const limit = final ? Number.POSITIVE_INFINITY : searchLimit(segment.scanned, end);
      const behind = limit > 0 ? await findBatchBehind(log, segment, end, limit) : undefined;
      if (behind === undefined) return { ...end, searched: limit > 0, batch: last };
      // It may have been written meanwhile, and all before it.
      const more = await reader.read();
      if (more) {
        last = more;
        continue;
      }
      const problem = reader.problem() ?? "it is missing";
      throw damaged(segment, end, `${problem}, and batch ${behind} stands behind it`);
    }
  } finally {
    await reader.close();
  }
}

/**
 * How far behind a place to search for batches. A log that is being written moves on from where it was
 * looked at; so a reader that asks again and again searches only where it does not, and then only once
 * all of the file: what is written later comes right behind.
 */
function searchLimit(before: ScannedPlace | undefined, end: Place): number {
  if (!before) return Number.POSITIVE_INFINITY;
  if (end.offset > before.offset) return 0;
  return before.searched ? searchBytes : Number.POSITIVE_INFINITY;
}

/**
 * The mark for the end of what is written: it names the segment, the place, and where the batch before
 * that place begins, which shows whether the mark is true.
 */
export function formatMark(segment: Segment, end: Place, lastOffset: number): LogMark {
  const hint = `${segment.term}:${segment.first}:${end.offset}:${lastOffset}`;
  return { sequence: end.sequence, hint };
}

/** Puts a reader behind the last batch before a mark, if that is there; else it stays at the start. */
async function seekMark(
  segment: Segment,
  reader: SegmentReader,
  marks: readonly LogMark[],
): Promise<void> {
  for (const { sequence, hint } of [...marks].sort((a, b) => b.sequence - a.sequence)) {
    const match = /^(\d{1,16}):(\d{1,16}):(\d{1,16}):(\d{1,16})$/.exec(hint);
    if (!match || segment.copy) continue;
    const [, term, first, offset, lastOffset] = match.map(Number) as [
      0,
      number,
      number,
      number,
      number,
    ];
    if (term !== segment.term || first !== segment.first || sequence <= first) continue;
    reader.seek({ sequence: sequence - 1, offset: lastOffset });
    // What goes wrong here shows again where it matters.
    const batch = await reader.read().catch(() => undefined);
    if (batch && reader.place().offset === offset) return;
  }
  reader.seek(startOf(segment));
}

/** The sequence of a whole batch of the segment's term, with a higher one than is due, behind a place. */
async function findBatchBehind(
  { fs, crc32 }: LogFolder,
  segment: Segment,
  place: Place,
  limit: number,
): Promise<number | undefined> {
  const file = await fs.open(segment.path, "read");
  try {
    const end = Math.min(await file.size(), place.offset + limit);
    const buffer = Buffer.allocUnsafeSlow(Math.max(0, Math.min(searchBytes, end - place.offset)));
    // A header that the buffer cuts is looked at again, at the start of the next one.
    for (let offset = place.offset; offset < end; offset += buffer.length - headerBytes) {
      const window = buffer.subarray(0, await readInto(file, buffer, offset));
      for (const at of findHeaders(window)) {
        const sequence = readNumber(window, at + headerField.sequence);
        if (sequence <= place.sequence) continue;
        if (readNumber(window, at + headerField.term) !== segment.term) continue;
        if (await isWhole(file, window, at, offset, crc32)) return sequence;
      }
      if (window.length < buffer.length || window.length <= headerBytes) break;
    }
    return undefined;
  } finally {
    await closeQuietly(file);
  }
}

function* findHeaders(window: Buffer): Generator<number> {
  let at = window.indexOf(magicBytes);
  while (at !== -1 && at + headerBytes <= window.length) {
    if (at % 8 === 0) yield at;
    at = window.indexOf(magicBytes, at + magicBytes.length);
  }
}

/** A number of 8 bytes; what is not exact is none of ours. */
function readNumber(window: Buffer, at: number): number {
  return window.readUInt32LE(at) + window.readUInt32LE(at + 4) * 2 ** 32;
}

async function isWhole(
  file: OpenFile,
  window: Buffer,
  at: number,
  offset: number,
  crc32: LogFolder["crc32"],
): Promise<boolean> {
  const start = peekBatch(window, at);
  if (start.kind !== "batch") return false;
  const whole =
    at + start.length <= window.length
      ? window.subarray(at, at + start.length)
      : await readFully(file, offset + at, start.length);
  return typeof tryDecodeBatch(whole, 0, crc32) !== "string";
}
