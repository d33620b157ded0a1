/**
 * A window: a part of a file in memory that moves on through it, while what follows is read already.
 *
 * @module
 */

import type { OpenFile } from "./file-system.ts";
import { closeQuietly, readFully } from "./files.node.ts";

/** A part of a file in memory. */
export interface FileWindow {
  bytes(): Uint8Array;
  /** Where it begins in the file. */
  start(): number;
  /** Reads `bytes` bytes from an offset on anew, or what there is of them. */
  read(offset: number, bytes: number): Promise<void>;
  /**
   * Moves to an offset within it, and on by what was read ahead; `false` if nothing suitable was. What
   * was read ahead may be older than what stands in the file now.
   */
  slide(offset: number): Promise<boolean>;
  /** Begins to read `bytes` bytes of what follows; up to `room` bytes of the end of this one are kept. */
  readAhead(bytes: number, room: number): void;
  /** Forgets it, unless an offset is within it. */
  seek(offset: number): void;
  close(): Promise<void>;
}

interface Ahead {
  start: number;
  /** How many bytes are free before what was read. */
  room: number;
  bytes: Promise<Uint8Array | undefined>;
}

/** Creates a window on a file, which it closes. */
export function createFileWindow(file: OpenFile, offset: number): FileWindow {
  let bytes: Uint8Array = new Uint8Array(0);
  let start = offset;
  /** The size of the file, when last looked at. */
  let size = 0;
  let ahead: Ahead | undefined;

  return {
    bytes: () => bytes,
    start: () => start,
    async read(from, count) {
      // So that no memory is taken for what a small file does not have.
      if (from + count > size) size = await file.size();
      bytes = await readFully(file, from, Math.min(count, Math.max(0, size - from)));
      start = from;
    },
    async slide(to) {
      if (!ahead) return false;
      const { room, start: end } = ahead;
      const more = await ahead.bytes;
      ahead = undefined;
      const rest = end - to;
      const follows = end === start + bytes.length && to >= start && rest >= 0;
      // Batches begin at multiples of 8 in memory too.
      if (!more || !follows || rest > room || rest % 8 !== 0) return false;
      more.set(bytes.subarray(to - start), room - rest);
      bytes = more.subarray(room - rest);
      start = to;
      return true;
    },
    readAhead(count, room) {
      const next = start + bytes.length;
      const there = Math.min(count, size - next);
      if (ahead || there <= 0) return;
      // Whoever comes to this place reads it again, and is told.
      const reading = readFully(file, next, there, room).catch(() => undefined);
      ahead = { start: next, room, bytes: reading };
    },
    seek(to) {
      if (to >= start && to <= start + bytes.length) return;
      bytes = new Uint8Array(0);
      start = to;
    },
    async close() {
      await ahead?.bytes;
      await closeQuietly(file);
    },
  };
}
