/**
 * Logs in files, for Node, Deno and Bun. Processes of one machine may share the folder.
 *
 * @module
 */

import { join } from "node:path";
import { crc32 } from "node:zlib";
import { MillraceError } from "@millrace/types";
import type { LogBackend } from "../log.ts";
import { nodeFileSystem } from "./file/file-system.node.ts";
import type { FileSystem } from "./file/file-system.ts";
import { explain, makeFolder } from "./file/files.node.ts";
import { openFileLog, openFileReader } from "./file/log.node.ts";

/** Options of {@linkcode createFileBackend}. */
export interface FileBackendOptions {
  /** Where the logs are, a folder per pchannel. Created if absent. */
  dir: string;
  /** How large a file grows before the next one begins, in bytes. Default 64 MiB, at least 4 KiB. */
  segmentBytes?: number;
  /** Default: the operating system's files. Handed in to simulate disks that fail. */
  fs?: FileSystem | undefined;
}

export { nodeFileSystem } from "./file/file-system.node.ts";
export type { FileSystem, OpenFile, OpenMode } from "./file/file-system.ts";

/**
 * Creates a backend that keeps each log in a folder of files. An append is durable (fdatasync or its
 * like) and not fenced when it resolves. A file to which a write failed is not written again: the log
 * goes on in a new one, or, if three in a row fail, ends with an error that says why. When the disk is
 * full, appends are refused with `RESOURCE_EXHAUSTED` until there is space. Reading goes on.
 */
export function createFileBackend(options: FileBackendOptions): LogBackend {
  const { dir, segmentBytes = 64 * 1024 * 1024, fs = nodeFileSystem } = options;
  if (!Number.isSafeInteger(segmentBytes) || segmentBytes < 4096) {
    throw new MillraceError("INVALID_ARGUMENT", "segmentBytes is at least 4096", {
      field: "segmentBytes",
    });
  }
  return {
    name: "file",
    crc32,
    async open(pchannel, term, { signal, mark } = {}) {
      const folder = folderOf(dir, pchannel);
      if (!Number.isSafeInteger(term) || term < 1) {
        throw new MillraceError("INVALID_ARGUMENT", `${term} is not a term: they begin at 1`, {
          field: "term",
        });
      }
      signal?.throwIfAborted();
      try {
        await makeFolder(fs, folder);
        return await openFileLog({ log: { fs, folder, crc32 }, term, segmentBytes, mark });
      } catch (error) {
        throw explain(error, `the log of ${pchannel} cannot be opened`);
      }
    },
    async openReadOnly(pchannel, { signal } = {}) {
      const folder = folderOf(dir, pchannel);
      signal?.throwIfAborted();
      if (!fs.exists(folder)) {
        throw new MillraceError("NOT_FOUND", `there is no log of ${pchannel} in ${dir}`);
      }
      try {
        return await openFileReader({ fs, folder, crc32 });
      } catch (error) {
        throw explain(error, `the log of ${pchannel} cannot be read`);
      }
    },
    close: async () => undefined,
  };
}

function folderOf(dir: string, pchannel: string): string {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/.test(pchannel)) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(pchannel)} cannot be a pchannel: use up to 200 letters, digits, "_", "-" or "."`,
      { field: "pchannel" },
    );
  }
  return join(dir, pchannel);
}
