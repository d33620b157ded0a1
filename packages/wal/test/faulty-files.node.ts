/** The operating system's files, with faults where a test wants them. */

import { type FileSystem, nodeFileSystem, type OpenFile } from "../src/backends/file.node.ts";

/** A write as the backend asked for it; `go` does it. */
export interface WriteCall {
  path: string;
  parts: readonly Uint8Array[];
  position: number;
  /** Writes these parts, by default all. */
  go(parts?: readonly Uint8Array[]): Promise<number>;
}

/** What a test puts in the place of some operations. */
export interface Faults {
  write?(call: WriteCall): Promise<number>;
  /** Called before any other operation; throws to make it fail. */
  before?(operation: keyof FileSystem | keyof OpenFile, path: string): void;
  /** Called with each read. */
  onRead?(path: string, bytes: number): void;
}

/** Wraps a file system. The faults may be changed at any time. */
export function createFaultyFiles(faults: Faults, fs: FileSystem = nodeFileSystem): FileSystem {
  const before = (operation: keyof FileSystem | keyof OpenFile, path: string): void =>
    faults.before?.(operation, path);
  return {
    async open(path, mode) {
      before("open", path);
      return wrapFile(path, await fs.open(path, mode), faults);
    },
    async list(path) {
      before("list", path);
      return fs.list(path);
    },
    async makeFolder(path) {
      before("makeFolder", path);
      return fs.makeFolder(path);
    },
    async rename(from, to) {
      before("rename", to);
      return fs.rename(from, to);
    },
    async link(from, to) {
      before("link", to);
      return fs.link(from, to);
    },
    async remove(path) {
      before("remove", path);
      return fs.remove(path);
    },
    async removeFolder(path) {
      before("removeFolder", path);
      return fs.removeFolder(path);
    },
    async syncFolder(path) {
      before("syncFolder", path);
      return fs.syncFolder(path);
    },
    exists(path) {
      before("exists", path);
      return fs.exists(path);
    },
  };
}

function wrapFile(path: string, file: OpenFile, faults: Faults): OpenFile {
  return {
    ...file,
    async read(into, position) {
      faults.before?.("read", path);
      const read = await file.read(into, position);
      faults.onRead?.(path, read);
      return read;
    },
    async write(parts, position) {
      const go = (given = parts): Promise<number> => file.write(given, position);
      return faults.write ? faults.write({ path, parts, position, go }) : go();
    },
    async sync() {
      faults.before?.("sync", path);
      return file.sync();
    },
  };
}

/** An error as the operating system makes it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}
