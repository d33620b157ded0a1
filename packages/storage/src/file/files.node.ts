/**
 * Durable writes to a file system, and its errors in Millrace's words.
 *
 * @module
 */

import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type ErrorCode, MillraceError } from "@millrace/types";

/** The code of a file system error (`ENOENT`, …), or `undefined`. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  const { code } = error;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

const codes: Record<string, [ErrorCode, string]> = {
  ENOSPC: ["RESOURCE_EXHAUSTED", "the disk is full; free some space"],
  EDQUOT: ["RESOURCE_EXHAUSTED", "the disk quota is used up; free some space"],
  EMFILE: ["RESOURCE_EXHAUSTED", "too many files are open; raise the limit (ulimit -n)"],
  ENFILE: ["RESOURCE_EXHAUSTED", "too many files are open on this machine"],
  EACCES: ["PERMISSION_DENIED", "this user may not; give it read and write access"],
  EPERM: ["PERMISSION_DENIED", "this user may not; give it read and write access"],
  EROFS: ["PERMISSION_DENIED", "the file system is read-only"],
  ENOENT: ["NOT_FOUND", "there is no such file or folder"],
  ENOTDIR: ["INVALID_ARGUMENT", "a part of the path is a file, not a folder"],
  EIO: ["UNAVAILABLE", "the disk reports an I/O error"],
};

/**
 * A file system error as a MillraceError that says what was tried, and whether it may have been done;
 * others pass as they are.
 */
export function fileError(doing: string, error: unknown, maybeApplied = false): unknown {
  const errno = errnoOf(error);
  if (errno === undefined || MillraceError.is(error)) return error;
  const [code, advice] = codes[errno] ?? ["UNKNOWN", error instanceof Error ? error.message : ""];
  return new MillraceError(code, `cannot ${doing}: ${advice} (${errno})`, {
    maybeApplied,
    cause: error,
  });
}

/** Makes a folder, and those above it, so that they survive a power cut. */
async function makeFolder(path: string): Promise<void> {
  let folder = resolve(path);
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  const last = dirname(resolve(first));
  do {
    folder = dirname(folder);
    await syncFolder(folder);
  } while (folder !== last && folder !== dirname(folder));
}

/** Makes a folder if it is missing and refuses one that cannot be written to. */
export async function openFolder(path: string): Promise<void> {
  try {
    await makeFolder(path);
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") {
      throw new MillraceError("INVALID_ARGUMENT", `${path} is a file, not a folder`);
    }
    throw fileError(`use the folder ${path}`, error);
  }
}

/** Makes the names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes all of the bytes, however short the single writes are. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let offset = 0;
  while (offset < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, offset);
    offset += bytesWritten;
  }
}
