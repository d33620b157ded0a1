/**
 * The index of a segment, in a file beside it, so that reading may begin near a place. It is advice:
 * what it says is checked against the batch that stands there, and without it reading begins at the
 * segment's start.
 *
 * @module
 */

import type { FileSystem } from "./file-system.ts";
import { readFile, remove, writeNew } from "./files.node.ts";
import {
  type LogFolder,
  openSegmentReader,
  type Place,
  type Segment,
  type SegmentReader,
  startOf,
} from "./segment.node.ts";

/** "MLIX" as a little-endian number. */
const magic = 0x58494c4d;
const headBytes = 16;
const entryBytes = 16;

/** Writes the index of a segment that is complete. If that fails it costs time later, no more. */
export async function saveIndex({ fs, crc32 }: LogFolder, segment: Segment): Promise<void> {
  if (segment.index.length === 0) return;
  const bytes = new Uint8Array(headBytes + segment.index.length * entryBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(8, segment.index.length, true);
  segment.index.forEach(({ sequence, offset }, i) => {
    view.setBigUint64(headBytes + i * entryBytes, BigInt(sequence), true);
    view.setBigUint64(headBytes + i * entryBytes + 8, BigInt(offset), true);
  });
  view.setUint32(4, crc32(bytes.subarray(8)), true);
  try {
    await writeNew(fs, indexPath(segment), [bytes]);
  } catch {
    // It is advice. There may be one already, or no space.
  }
}

/** Removes the index of a segment that is removed. */
export function removeIndex(fs: FileSystem, segment: Segment): Promise<void> {
  return remove(fs, indexPath(segment));
}

/** Opens a segment at its last indexed place that is not behind a sequence. */
export async function openSegmentNear(
  log: LogFolder,
  segment: Segment,
  from: number,
): Promise<SegmentReader> {
  if (!segment.indexed && segment.end !== undefined) await loadIndex(log, segment);
  const place = findPlace(segment, from);
  const reader = await openSegmentReader(log, segment, place);
  if (place.offset === 0) return reader;
  try {
    const sound = await reader.read();
    if (!sound) segment.index = [];
    reader.seek(sound ? place : startOf(segment));
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function loadIndex({ fs, crc32 }: LogFolder, segment: Segment): Promise<void> {
  // Advice that cannot be read is worth as much as none.
  const bytes = await readFile(fs, indexPath(segment)).catch(() => undefined);
  segment.indexed = true;
  if (!bytes || bytes.length < headBytes) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const count = view.getUint32(8, true);
  if (view.getUint32(0, true) !== magic || bytes.length !== headBytes + count * entryBytes) return;
  if (view.getUint32(4, true) !== crc32(bytes.subarray(8))) return;
  if (count <= segment.index.length) return;
  segment.index = Array.from({ length: count }, (_, i) => ({
    sequence: Number(view.getBigUint64(headBytes + i * entryBytes, true)),
    offset: Number(view.getBigUint64(headBytes + i * entryBytes + 8, true)),
  }));
}

function findPlace(segment: Segment, from: number): Place {
  const { index } = segment;
  let low = 0;
  let high = index.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((index[middle]?.sequence ?? 0) <= from) low = middle + 1;
    else high = middle;
  }
  return index[low - 1] ?? startOf(segment);
}

function indexPath(segment: Segment): string {
  return segment.path.replace(/\.log$/, ".index");
}
