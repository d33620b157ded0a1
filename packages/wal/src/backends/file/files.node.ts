/**
 * The few file operations that durability rests on, composed of what a file system does.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { MillraceError } from "@millrace/types";
import type { FileSystem, OpenFile } from "./file-system.ts";

/** Makes a file's contents durable, whoever wrote them. */
export async function syncFile(fs: FileSystem, path: string): Promise<void> {
  const file = await fs.open(path, "read");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Creates a folder and those above it, durably; a success if it is there. */
export async function makeFolder(fs: FileSystem, path: string): Promise<void> {
  const above = dirname(path);
  try {
    await fs.makeFolder(path);
  } catch (error) {
    if (hasCode(error, "ENOENT") && above !== path) {
      await makeFolder(fs, above);
      return makeFolder(fs, path);
    }
    if (!hasCode(error, "EEXIST")) throw error;
  }
  // Also when it was there: whoever made it may have been about to do this.
  await fs.syncFolder(above);
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
  const aside = await writeAside(fs, path, content);
  try {
    await fs.link(aside, path);
    return true;
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    return false;
  } finally {
    await fs.remove(aside);
    // Also when another one created it: it may have been about to do this.
    await fs.syncFolder(dirname(path));
  }
}

/** Writes a durable file beside the one it is going to be, and answers its path. */
async function writeAside(
  fs: FileSystem,
  path: string,
  content: Uint8Array | string,
): Promise<string> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const { aside, file } = await createAside(fs, path);
  try {
    const written = await file.write([bytes], 0);
    if (written !== bytes.length) throw shortWrite(aside, written, bytes.length);
  } catch (error) {
    await remove(fs, aside);
    throw error;
  } finally {
    await file.close();
  }
  return aside;
}

/** The first name that is free: others may write the same file, or have died over it. */
async function createAside(
  fs: FileSystem,
  path: string,
): Promise<{ aside: string; file: OpenFile }> {
  for (let attempt = 0; ; attempt++) {
    const aside = `${path}.${attempt}.tmp`;
    try {
      return { aside, file: await fs.open(aside, "create") };
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
  }
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
    return await readFully(file, 0, Number.POSITIVE_INFINITY);
  } finally {
    await file.close();
  }
}

/** Up to `bytes` bytes: fewer only at the end of the file. */
export async function readFully(
  file: OpenFile,
  position: number,
  bytes: number,
): Promise<Uint8Array> {
  const size = await file.size();
  const buffer = new Uint8Array(Math.max(0, Math.min(bytes, size - position)));
  let filled = 0;
  while (filled < buffer.length) {
    const read = await file.read(buffer.subarray(filled), position + filled);
    if (read === 0) return buffer.subarray(0, filled);
    filled += read;
  }
  return buffer;
}

/** Removes a file, if it is there. */
export async function remove(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.remove(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
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
