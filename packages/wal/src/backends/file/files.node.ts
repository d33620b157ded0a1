/**
 * The few file operations that durability rests on, composed of what a file system does.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";
import { MillraceError } from "@millrace/types";
import type { FileSystem, OpenFile } from "./file-system.ts";

/** Makes a file's contents durable, whoever wrote them. */
export async function syncFile(fs: FileSystem, path: string): Promise<void> {
  const file = await fs.open(path, "read");
  try {
    await file.sync();
  } finally {
    await closeQuietly(file);
  }
}

/** Creates a folder and those above it, durably; a success if it is there. */
export async function makeFolder(fs: FileSystem, path: string): Promise<void> {
  const above = dirname(path);
  if (!fs.exists(path)) {
    // Also if the one above is there: whoever made it may have died before its name was durable.
    if (above !== path) await makeFolder(fs, above);
    try {
      await fs.makeFolder(path);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
  }
  try {
    await fs.syncFolder(above);
  } catch (error) {
    // One that may not be read cannot be synced either; it is not ours.
    if (!hasCode(error, "EACCES", "EPERM")) throw error;
  }
}

/**
 * Creates a file with this content, durably, unless it exists: it appears whole or not at all. Of those
 * who try, exactly one gets `true`.
 */
export async function createOnce(
  fs: FileSystem,
  path: string,
  content: Uint8Array | string,
): Promise<boolean> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const aside = await writeAside(fs, path, [bytes]);
  try {
    await fs.link(aside, path);
    return true;
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    return false;
  } finally {
    await remove(fs, aside);
    // Also when another one created it: it may have been about to do this.
    await fs.syncFolder(dirname(path));
  }
}

/** Puts this content in the place of a file's, durably: whole or not at all. */
export async function replaceFile(
  fs: FileSystem,
  path: string,
  parts: readonly Uint8Array[],
): Promise<void> {
  const aside = await writeAside(fs, path, parts);
  try {
    await fs.rename(aside, path);
  } catch (error) {
    await discard(fs, aside);
    throw error;
  }
  await fs.syncFolder(dirname(path));
}

/** Writes a file that does not exist; its name is not made durable. */
export async function writeNew(
  fs: FileSystem,
  path: string,
  parts: readonly Uint8Array[],
): Promise<void> {
  const file = await fs.open(path, "create");
  try {
    const expected = parts.reduce((sum, part) => sum + part.length, 0);
    const written = await file.write(parts, 0);
    if (written !== expected) throw shortWrite(path, written, expected);
  } catch (error) {
    await discard(fs, path);
    throw error;
  } finally {
    await closeQuietly(file);
  }
}

/** Writes a file beside the one it is going to be, and answers its path. */
async function writeAside(
  fs: FileSystem,
  path: string,
  parts: readonly Uint8Array[],
): Promise<string> {
  // The first name that is free: others may write the same file, or have died over it.
  for (let attempt = 0; ; attempt++) {
    const aside = `${path}.${attempt}.tmp`;
    try {
      await writeNew(fs, aside, parts);
      return aside;
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
  }
}

/** Closes a file that was only read, or whose contents are durable: what closing says changes nothing. */
export async function closeQuietly(file: OpenFile): Promise<void> {
  await file.close().catch(() => undefined);
}

/** The error for a write of which only a part was done. */
export function shortWrite(path: string, written: number, expected: number): MillraceError {
  return new MillraceError("INNER", `only ${written} of ${expected} bytes of ${path} were written`);
}

/** The content of a file as text, or `undefined` if there is none. */
export async function readText(fs: FileSystem, path: string): Promise<string | undefined> {
  const bytes = await readFile(fs, path);
  return bytes && new TextDecoder().decode(bytes);
}

/** The content of a file, or `undefined` if there is none. */
export async function readFile(fs: FileSystem, path: string): Promise<Uint8Array | undefined> {
  let file: OpenFile;
  try {
    file = await fs.open(path, "read");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    return await readFully(file, 0, await file.size());
  } finally {
    await closeQuietly(file);
  }
}

/**
 * Up to `bytes` bytes, fewer only at the end of the file; none if that is less than 0. Before them
 * there are `room` bytes in which anything may stand.
 */
export async function readFully(
  file: OpenFile,
  position: number,
  bytes: number,
  room = 0,
): Promise<Uint8Array> {
  const end = room + Math.max(0, bytes);
  // Of its own memory, not filled with zeros first.
  const { buffer, byteOffset } = Buffer.allocUnsafeSlow(end);
  const all = new Uint8Array(buffer, byteOffset, end);
  const filled = await readInto(file, all.subarray(room), position);
  return all.subarray(0, room + filled);
}

/** Fills a buffer, or less of it only at the end of the file; answers how many bytes were read. */
export async function readInto(
  file: OpenFile,
  buffer: Uint8Array,
  position: number,
): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const read = await file.read(buffer.subarray(filled), position + filled);
    if (read === 0) break;
    filled += read;
  }
  return filled;
}

/** Removes a file, if it is there. */
export async function remove(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.remove(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

/** Renames a file or folder; `false` if it is not there, because another one was faster. */
export async function move(fs: FileSystem, from: string, to: string): Promise<boolean> {
  try {
    await fs.rename(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** Removes, if that works, a file that nobody looks at. */
export async function discard(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.remove(path);
  } catch {
    // It takes up space, and goes with its folder.
  }
}

/** Removes a folder of files, if it is there. Others may do the same at once. */
export async function removeFolder(fs: FileSystem, path: string): Promise<void> {
  try {
    for (const name of await fs.list(path)) await remove(fs, join(path, name));
    await fs.removeFolder(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

/** The error as a MillraceError that says what could not be done; one that is one stays as it is. */
export function explain(error: unknown, what: string): MillraceError {
  if (MillraceError.is(error)) return error;
  if (isFull(error)) return noSpace(error, what);
  return new MillraceError("INNER", `${what}: ${reasonOf(error)}`, { cause: error });
}

/** The error for something that there is no space for: it may be tried again. */
export function noSpace(error: unknown, what: string): MillraceError {
  return new MillraceError("RESOURCE_EXHAUSTED", `${what}: ${reasonOf(error)}; free space`, {
    cause: error,
    maybeApplied: true,
    retryAfterMs: 1000,
  });
}

/** The message of what was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `true` if there is no space left, on the disk or for this user. */
export function isFull(error: unknown): boolean {
  return hasCode(error, "ENOSPC", "EDQUOT");
}

/** `true` if the error is one of the operating system with this code. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
