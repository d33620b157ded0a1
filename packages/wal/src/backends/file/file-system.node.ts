/**
 * The operating system's files.
 *
 * @module
 */

import { constants, fdatasync, statSync, writev } from "node:fs";
import { link, mkdir, open, readdir, rename, rmdir, unlink } from "node:fs/promises";
import type { FileSystem, OpenFile, OpenMode } from "./file-system.ts";

// With O_DSYNC one trip to the thread pool does both; elsewhere it promises less than fdatasync.
const dsync = process.platform === "linux" ? constants.O_DSYNC : 0;
const flags: Record<OpenMode, number> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR | dsync,
  create: constants.O_RDWR | dsync | constants.O_CREAT | constants.O_EXCL,
};

/** The operating system's files, as Node, Deno and Bun reach them. */
export const nodeFileSystem: FileSystem = {
  open: openFile,
  list: (path) => readdir(path),
  makeFolder: (path) => mkdir(path),
  rename,
  link,
  remove: unlink,
  removeFolder: rmdir,
  async syncFolder(path) {
    // Windows has no such call, and needs none.
    if (process.platform === "win32") return;
    const folder = await open(path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
  exists: (path) => statSync(path, { throwIfNoEntry: false }) !== undefined,
};

async function openFile(path: string, mode: OpenMode): Promise<OpenFile> {
  const file = await open(path, flags[mode]);
  const { fd } = file;
  return {
    size: async () => (await file.stat()).size,
    read: async (into, position) => (await file.read(into, 0, into.length, position)).bytesRead,
    write: (parts, position) =>
      new Promise((resolve, reject) => {
        writev(fd, parts, position, (error, written) => {
          if (error) reject(error);
          else if (dsync) resolve(written);
          else fdatasync(fd, (failed) => (failed ? reject(failed) : resolve(written)));
        });
      }),
    sync: () => file.datasync(),
    close: () => file.close(),
  };
}
