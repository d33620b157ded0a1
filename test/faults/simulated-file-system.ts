/**
 * A file system on a {@linkcode DiskFolder | simulated disk}: it can be looked at, fail and lie at every
 * operation.
 *
 * @module
 */

import type { FileSystem, OpenFile } from "@millrace/wal/file";
import {
  changeNames,
  createFile,
  createFolder,
  type DiskFile,
  type DiskFolder,
  type DiskNode,
  failSync,
  readFile,
  sizeOf,
  syncFile,
  syncFolder,
  writeFile,
} from "./simulated-disk.ts";

/** What is asked of a file system. */
export interface Operation {
  /** From 0, over all operations of the file system. */
  index: number;
  kind:
    | "create"
    | "write"
    | "sync"
    | "make folder"
    | "rename"
    | "link"
    | "remove"
    | "remove folder"
    | "sync folder"
    // These change nothing.
    | "open"
    | "size"
    | "read"
    | "list"
    | "close";
  path: string;
}

/** What goes wrong with an operation. */
export type Fault =
  /** It rejects with this code; `done` is how much of it happens all the same. */
  | { kind: "error"; code: string; done: "nothing" | "half" | "all" }
  /** It answers that half of the bytes were written, and that is so. A write only. */
  | { kind: "short write" }
  /** It answers that all is well, but nothing is durable. */
  | { kind: "lie" };

/** Options of {@linkcode createSimulatedFileSystem}. */
export interface SimulationOptions {
  /** What is there. Default: nothing. */
  disk?: DiskFolder;
  /**
   * Called before an operation that changes something, or makes something durable, and when it has
   * happened but is neither durable nor answered.
   */
  onStep?: ((operation: Operation) => void) | undefined;
  /** Asked before each operation. Default: nothing goes wrong. */
  fault?: ((operation: Operation) => Fault | undefined) | undefined;
  /** How long an operation takes before and after it happens, in turns of the event loop's microtasks. */
  turns?: (() => number) | undefined;
}

/** A file system that is simulated. */
export interface SimulatedFileSystem extends FileSystem {
  readonly disk: DiskFolder;
  /** How many operations were begun. */
  readonly operations: number;
  /** Ends it: nothing happens any more, every call rejects with `EPOWER`. */
  stop(): void;
}

/** The error of an operating system. */
export function systemError(code: string, path: string): Error {
  const { stackTraceLimit } = Error;
  // It is an everyday answer, and where it was made is of no interest.
  Error.stackTraceLimit = 0;
  const error = Object.assign(new Error(`${code}: ${path}`), { code });
  Error.stackTraceLimit = stackTraceLimit;
  return error;
}

/** Creates a {@linkcode SimulatedFileSystem}. */
export function createSimulatedFileSystem(options: SimulationOptions = {}): SimulatedFileSystem {
  const { disk = createFolder(), onStep, fault, turns = () => 0 } = options;
  let operations = 0;
  let stopped = false;

  function refuseIfStopped(path: string): void {
    if (stopped) throw systemError("EPOWER", path);
  }

  async function pass(path: string): Promise<void> {
    for (let turn = turns(); turn > 0; turn--) await undefined;
    refuseIfStopped(path);
  }

  /** `happen` does it, or half of it, and answers; `last` makes it durable. */
  async function operate<T>(
    kind: Operation["kind"],
    path: string,
    happen: (part: "half" | "all") => T,
    last: (() => void) | undefined,
    fail: (() => void) | undefined,
  ): Promise<T> {
    refuseIfStopped(path);
    const operation = { index: operations++, kind, path };
    const wrong = fault?.(operation);
    await pass(path);
    onStep?.(operation);
    if (wrong?.kind === "error") {
      if (wrong.done !== "nothing") happen(wrong.done);
      fail?.();
      onStep?.(operation);
      await pass(path);
      throw systemError(wrong.code, path);
    }
    const result = happen(wrong?.kind === "short write" ? "half" : "all");
    onStep?.(operation);
    await pass(path);
    if (wrong?.kind !== "lie") last?.();
    return result;
  }

  /** An operation that changes nothing. */
  async function look<T>(kind: Operation["kind"], path: string, answer: () => T): Promise<T> {
    refuseIfStopped(path);
    const wrong = fault?.({ index: operations++, kind, path });
    await pass(path);
    if (wrong?.kind === "error") throw systemError(wrong.code, path);
    return answer();
  }

  function find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = disk;
    for (const name of namesOf(path)) {
      if (node?.kind !== "folder") return undefined;
      node = node.entries.get(name);
    }
    return node;
  }

  function existing(path: string): DiskNode {
    const node = find(path);
    if (!node) throw systemError("ENOENT", path);
    return node;
  }

  function folderAt(path: string): DiskFolder {
    const node = existing(path);
    if (node.kind !== "folder") throw systemError("ENOTDIR", path);
    return node;
  }

  function fileAt(path: string): DiskFile {
    const node = existing(path);
    if (node.kind !== "file") throw systemError("EISDIR", path);
    return node;
  }

  /** The folder that a path is in, and its name there. */
  function split(path: string): { folder: DiskFolder; name: string } {
    const names = namesOf(path);
    return { folder: folderAt(names.slice(0, -1).join("/")), name: names.at(-1) ?? "" };
  }

  /** Adds a name; `EEXIST` if it is taken. */
  function add(path: string, node: DiskNode): void {
    const { folder, name } = split(path);
    if (folder.entries.has(name)) throw systemError("EEXIST", path);
    changeNames([{ folder, name, node }]);
  }

  function openFile(file: DiskFile, path: string): OpenFile {
    return {
      size: () => look("size", path, () => sizeOf(file)),
      read: (into, position) =>
        look("read", path, () => {
          const bytes = readFile(file, position, into.length);
          into.set(bytes);
          return bytes.length;
        }),
      write(parts, position) {
        const bytes = Buffer.concat(parts);
        const write = (part: "half" | "all"): number => {
          const done = part === "all" ? bytes : bytes.subarray(0, bytes.length >>> 1);
          writeFile(file, done, position);
          return done.length;
        };
        const last = (): void => syncFile(file, position, bytes.length);
        return operate("write", path, write, last, () => failSync(file));
      },
      sync: () =>
        operate(
          "sync",
          path,
          () => undefined,
          () => syncFile(file),
          () => failSync(file),
        ),
      close: () => look("close", path, () => undefined),
    };
  }

  const change = (kind: Operation["kind"], path: string, happen: () => void): Promise<void> =>
    operate(kind, path, happen, undefined, undefined);

  return {
    disk,
    get operations() {
      return operations;
    },
    stop() {
      stopped = true;
    },
    async open(path, mode) {
      if (mode === "create") {
        const file = createFile();
        await change("create", path, () => add(path, file));
        return openFile(file, path);
      }
      return look("open", path, () => openFile(fileAt(path), path));
    },
    list: (path) => look("list", path, () => [...folderAt(path).entries.keys()]),
    makeFolder: (path) => change("make folder", path, () => add(path, createFolder())),
    rename: (from, to) =>
      change("rename", to, () => {
        const node = existing(from);
        const source = split(from);
        const target = split(to);
        const replaced = target.folder.entries.get(target.name);
        if (replaced && replaced.kind !== node.kind) throw systemError("EISDIR", to);
        changeNames([
          { ...source, node: undefined },
          { ...target, node },
        ]);
      }),
    link: (from, to) => change("link", to, () => add(to, fileAt(from))),
    remove: (path) =>
      change("remove", path, () => {
        fileAt(path);
        const { folder, name } = split(path);
        changeNames([{ folder, name, node: undefined }]);
      }),
    removeFolder: (path) =>
      change("remove folder", path, () => {
        if (folderAt(path).entries.size > 0) throw systemError("ENOTEMPTY", path);
        const { folder, name } = split(path);
        changeNames([{ folder, name, node: undefined }]);
      }),
    syncFolder(path) {
      let covered = 0;
      return operate(
        "sync folder",
        path,
        () => {
          covered = folderAt(path).changes.length;
        },
        () => syncFolder(folderAt(path), covered),
        undefined,
      );
    },
    exists(path) {
      refuseIfStopped(path);
      return find(path) !== undefined;
    },
  };
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}
