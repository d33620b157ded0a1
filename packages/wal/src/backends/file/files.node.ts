/**
 * The few file operations that durability rests on.
 *
 * @module
 */

import { randomUUID } from "node:crypto";
import { constants, fdatasync, writev } from "node:fs";
import { type FileHandle, link, mkdir, open, readFile, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MillraceError } from "@millrace/types";

/** What segments are written with. Handed in, so that tests can make it fail. */
export interface SegmentIo {
  /** Writes all the bytes at a position and makes them durable; answers how many were written. */
  write(file: FileHandle, bytes: readonly Uint8Array[], position: number): Promise<number>;
}

// With O_DSYNC one trip to the thread pool does both; elsewhere it promises less than fdatasync.
const dsync = process.platform === "linux" ? constants.O_DSYNC : 0;

/** The operating system's files. */
export const segmentIo: SegmentIo = {
  write(file, bytes, position) {
    return new Promise((resolve, reject) => {
      writev(file.fd, bytes, position, (error, written) => {
        if (error) reject(error);
        else if (dsync) resolve(written);
        else fdatasync(file.fd, (failed) => (failed ? reject(failed) : resolve(written)));
      });
    });
  },
};

/** Opens a segment for writing; one that is `new` must not exist, one that is `existing` must. */
export function openSegmentFile(path: string, mode: "new" | "existing"): Promise<FileHandle> {
  const create = mode === "new" ? constants.O_CREAT | constants.O_EXCL : 0;
  return open(path, constants.O_RDWR | dsync | create);
}

/** Makes the entries of a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  // Windows has no such call, and needs none.
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Makes a file's contents durable, whoever wrote them. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Creates a folder and those above it, durably; a success if it is there. */
export async function makeFolder(path: string): Promise<void> {
  const first = (await mkdir(path, { recursive: true })) ?? path;
  for (let folder = path; folder.length >= first.length; folder = dirname(folder)) {
    await syncFolder(dirname(folder));
  }
}

/**
 * Creates a file with this content, durably, unless it exists: it appears whole or not at all. Of those
 * who try, exactly one gets `true`.
 */
export async function createOnce(path: string, content: string): Promise<boolean> {
  const folder = dirname(path);
  const temporary = join(folder, `${randomUUID()}.tmp`);
  const file = await open(temporary, "wx");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    return false;
  } finally {
    await unlink(temporary);
    // Also when another one created it: it may have been about to do this.
    await syncFolder(folder);
  }
}

/** The content of a file as text, or `undefined` if there is none. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** The error as a MillraceError that says what could not be done; one that is one stays as it is. */
export function explain(error: unknown, what: string): MillraceError {
  if (MillraceError.is(error)) return error;
  const reason = error instanceof Error ? error.message : String(error);
  if (hasCode(error, "ENOSPC", "EDQUOT", "EFBIG")) {
    return new MillraceError("RESOURCE_EXHAUSTED", `${what}: ${reason}; free space`, {
      cause: error,
    });
  }
  return new MillraceError("INNER", `${what}: ${reason}`, { cause: error });
}

/** `true` if the error is one of the operating system with this code. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
