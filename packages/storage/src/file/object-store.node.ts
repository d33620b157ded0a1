/**
 * ObjectStore in a folder: one file for each object, at the path that its key says.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
} from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { backoffDelay, type Clock, delay, MillraceError, type Random } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import {
  checkKey,
  checkPut,
  checkRange,
  compareKeys,
  preconditionFailed,
  reservedPrefix,
} from "../keys.ts";
import type {
  GetOptions,
  ListOptions,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  StoredObject,
} from "../object-store.ts";
import { errnoOf, fileError, openFolder, syncFolder, writeAll } from "./files.node.ts";
import {
  type Card,
  createCard,
  removeDeadCards,
  removeDeadLocks,
  tryLock,
  unlock,
} from "./lock.node.ts";

/** Options of {@linkcode createFileObjectStore}. */
export interface FileObjectStoreOptions {
  /** The folder; it is made if it is missing. */
  dir: string;
  /** How long a write may wait for one to the same key, in milliseconds. Default 10000. */
  lockTimeoutMs?: number;
  /** Default: the system's. */
  clock?: Clock;
  /** Default: the system's. */
  random?: Random;
}

const workFolder = `${reservedPrefix}-tmp`;
const keyLockPrefix = "key-";

/**
 * Opens a folder as an ObjectStore, for any number of processes of one machine. An object is a file
 * at `<dir>/<key>`, written beside and renamed into place after its bytes are on the disk, so other
 * tools may read the folder. What writers left that died is removed.
 *
 * A key that is a folder of another key is refused with `INVALID_ARGUMENT`, a full disk is
 * `RESOURCE_EXHAUSTED`, a folder that cannot be used is an error here.
 */
export async function createFileObjectStore(options: FileObjectStoreOptions): Promise<ObjectStore> {
  const { lockTimeoutMs = 10_000, clock = systemClock, random = systemRandom } = options;
  const dir = resolve(options.dir);
  const work = join(dir, workFolder);
  await openFolder(dir);
  await openFolder(work);
  await removeDeadCards(work);
  const card = await createCard(work);
  await removeDeadLocks(work, keyLockPrefix, card);
  return new FileObjectStore(dir, { work, card, lockTimeoutMs, clock, random });
}

interface Parts {
  work: string;
  card: Card;
  lockTimeoutMs: number;
  clock: Clock;
  random: Random;
}

class FileObjectStore implements ObjectStore {
  readonly name: string;
  readonly #dir: string;
  readonly #parts: Parts;
  /** The last write of this process to a key, for the next one to wait for. */
  readonly #queues = new Map<string, Promise<void>>();
  #files = 0;

  constructor(dir: string, parts: Parts) {
    this.name = `file:${dir}`;
    this.#dir = dir;
    this.#parts = parts;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    checkKey(key);
    checkRange(options.range);
    options.signal?.throwIfAborted();
    return await this.#reading(key, async (path) => {
      await using handle = await open(path, "r");
      const stats = await handle.stat({ bigint: true });
      const info = describe(key, stats);
      if (info === undefined) return undefined;
      const start = Math.min(options.range?.start ?? 0, info.size);
      const end = Math.min(options.range?.end ?? info.size, info.size);
      const body = await readRange(handle, start, end);
      options.signal?.throwIfAborted();
      return { ...info, body };
    });
  }

  async head(key: string, options: { signal?: AbortSignal } = {}): Promise<ObjectInfo | undefined> {
    checkKey(key);
    options.signal?.throwIfAborted();
    return await this.#reading(key, async (path) =>
      describe(key, await stat(path, { bigint: true })),
    );
  }

  async put(
    key: string,
    body: Uint8Array | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<ObjectInfo> {
    checkKey(key);
    checkPut(body, options);
    options.signal?.throwIfAborted();
    this.#files += 1;
    const fresh = join(this.#parts.work, `${this.#parts.card.holder.nonce}-${this.#files}`);
    try {
      const info = await this.#writeFresh(key, fresh, body, options.signal);
      await this.#place(key, fresh, options);
      return info;
    } catch (error) {
      throw fileError(`write ${key} to ${this.#dir}`, error);
    } finally {
      await rm(fresh, { force: true });
    }
  }

  async *list(options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    for await (const key of this.#walk("", options)) {
      const info = await this.head(key, options);
      if (info !== undefined) yield info;
    }
  }

  async delete(key: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    checkKey(key);
    options.signal?.throwIfAborted();
    const path = join(this.#dir, key);
    try {
      await this.#exclusively(key, options.signal, async () => {
        if ((await this.head(key)) === undefined) return;
        await rm(path, { force: true });
        await syncFolder(dirname(path));
      });
    } catch (error) {
      throw fileError(`delete ${key} from ${this.#dir}`, error);
    }
    await this.#removeEmptyFolders(dirname(path));
  }

  async close(): Promise<void> {
    await Promise.all(this.#queues.values());
    await this.#parts.card.discard();
  }

  async #reading<T>(
    key: string,
    read: (path: string) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    try {
      return await read(join(this.#dir, key));
    } catch (error) {
      // A key may run through a file or end at a folder: no such object either.
      if (["ENOENT", "ENOTDIR", "EISDIR"].includes(errnoOf(error) ?? "")) return undefined;
      throw fileError(`read ${key} from ${this.#dir}`, error);
    }
  }

  async #writeFresh(
    key: string,
    path: string,
    body: Uint8Array | AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): Promise<ObjectInfo> {
    await using handle = await open(path, "wx");
    if (body instanceof Uint8Array) {
      await writeAll(handle, body);
    } else {
      for await (const chunk of body) {
        signal?.throwIfAborted();
        await writeAll(handle, chunk);
      }
    }
    // Part of the etag: file numbers are used again at once, and the system's own times have steps of
    // milliseconds, so that two writes could look like one. Random parts of a second tell them apart.
    const seconds = Math.floor(this.#parts.clock.now() / 1000) + this.#parts.random.next();
    await handle.utimes(seconds, seconds);
    await handle.sync();
    const info = describe(key, await handle.stat({ bigint: true }));
    if (info === undefined) throw new MillraceError("INNER", `${path} is not a file`);
    return info;
  }

  /** Puts the fresh file where the key says, if the conditions hold. */
  async #place(key: string, fresh: string, options: PutOptions): Promise<void> {
    const path = join(this.#dir, key);
    const folder = dirname(path);
    if (options.ifAbsent) {
      await this.#inFolder(key, folder, () => link(fresh, path)).catch(async (error: unknown) => {
        if (errnoOf(error) !== "EEXIST") throw error;
        const current = await this.head(key);
        if (current === undefined) await this.#refuseFolder(key, path);
        throw preconditionFailed(this.name, key, options, current?.etag);
      });
    } else {
      await this.#exclusively(key, options.signal, async () => {
        if (options.ifMatch !== undefined) {
          const current = (await this.head(key))?.etag;
          if (current !== options.ifMatch) {
            throw preconditionFailed(this.name, key, options, current);
          }
        }
        await this.#inFolder(key, folder, async () => {
          await this.#refuseFolder(key, path);
          await rename(fresh, path);
        });
      });
    }
    try {
      await this.#syncFolders(folder);
    } catch (error) {
      throw fileError(`make ${key} durable in ${this.#dir}`, error, true);
    }
  }

  /** Makes the way to a folder durable, whoever made the folders of it. */
  async #syncFolders(folder: string): Promise<void> {
    for (let path = folder; path.startsWith(this.#dir); path = dirname(path)) {
      try {
        await syncFolder(path);
      } catch (error) {
        // Another has removed the object and the folder since.
        if (errnoOf(error) !== "ENOENT") throw error;
      }
    }
  }

  /** Runs what needs the folder; a delete in another process may take the folder away meanwhile. */
  async #inFolder(key: string, folder: string, action: () => Promise<void>): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await mkdir(folder, { recursive: true });
        return await action();
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === "ENOTDIR" || (errno === "EEXIST" && !(await isFolder(folder)))) {
          throw folderClash(this.name, key);
        }
        if (errno !== "ENOENT" || attempt === 9) throw error;
      }
    }
  }

  async #refuseFolder(key: string, path: string): Promise<void> {
    if (await isFolder(path)) throw folderClash(this.name, key);
  }

  /** Runs an action while no other process and no other call changes the key. */
  async #exclusively(
    key: string,
    signal: AbortSignal | undefined,
    action: () => Promise<void>,
  ): Promise<void> {
    const before = this.#queues.get(key) ?? Promise.resolve();
    const turn = before.then(async () => {
      const hash = createHash("sha256").update(key).digest("hex");
      const lock = join(this.#parts.work, keyLockPrefix + hash);
      await this.#waitForLock(key, lock, signal);
      try {
        await action();
      } finally {
        await unlock(lock);
      }
    });
    const settled = turn.catch(() => undefined);
    this.#queues.set(key, settled);
    try {
      await turn;
    } finally {
      if (this.#queues.get(key) === settled) this.#queues.delete(key);
    }
  }

  async #waitForLock(key: string, lock: string, signal: AbortSignal | undefined): Promise<void> {
    const { card, clock, random, lockTimeoutMs } = this.#parts;
    const start = clock.monotonic();
    for (let attempt = 0; ; attempt++) {
      const other = await tryLock(lock, card);
      if (other === undefined) return;
      if (clock.monotonic() - start > lockTimeoutMs) {
        throw new MillraceError(
          "UNAVAILABLE",
          `${this.name}: process ${other.pid} holds ${key} for more than ${lockTimeoutMs} ms`,
        );
      }
      await delay(clock, backoffDelay(attempt, random, { initialMs: 1, maxMs: 20 }), signal);
    }
  }

  async *#walk(folder: string, options: ListOptions): AsyncGenerator<string> {
    options.signal?.throwIfAborted();
    const { prefix = "", after } = options;
    for (const { name, isFolder } of await this.#entries(folder)) {
      // The slash counts in the order of keys: `a-b` comes before `a/b`.
      const key = folder + name;
      if (isFolder) {
        const mayMatch = key.startsWith(prefix) || prefix.startsWith(key);
        const mayFollow =
          after === undefined || after.startsWith(key) || compareKeys(key, after) > 0;
        if (mayMatch && mayFollow) yield* this.#walk(key, options);
      } else if (key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0)) {
        yield key;
      }
    }
  }

  async #entries(folder: string): Promise<{ name: string; isFolder: boolean }[]> {
    const path = join(this.#dir, folder);
    try {
      const entries = await readdir(path, { withFileTypes: true });
      return entries
        .filter((entry) => entry.isDirectory() || entry.isFile())
        .filter((entry) => folder !== "" || !entry.name.startsWith(reservedPrefix))
        .map((entry) => {
          const isFolder = entry.isDirectory();
          return { name: isFolder ? `${entry.name}/` : entry.name, isFolder };
        })
        .sort((a, b) => compareKeys(a.name, b.name));
    } catch (error) {
      if (errnoOf(error) === "ENOENT" && folder !== "") return [];
      throw fileError(`list the folder ${path}`, error);
    }
  }

  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let path = folder; path.startsWith(`${this.#dir}/`); path = dirname(path)) {
      try {
        await rmdir(path);
      } catch (error) {
        if (["ENOTEMPTY", "EEXIST", "ENOENT"].includes(errnoOf(error) ?? "")) return;
        throw fileError(`remove the empty folder ${path}`, error);
      }
    }
  }
}

function describe(key: string, stats: BigIntStats): ObjectInfo | undefined {
  if (!stats.isFile()) return undefined;
  const etag = [stats.ino, stats.size, stats.mtimeNs].map((part) => part.toString(36)).join("-");
  return { key, size: Number(stats.size), etag };
}

async function readRange(handle: FileHandle, start: number, end: number): Promise<Uint8Array> {
  const body = new Uint8Array(Math.max(0, end - start));
  let filled = 0;
  while (filled < body.length) {
    const { bytesRead } = await handle.read(body, filled, body.length - filled, start + filled);
    if (bytesRead === 0) throw new MillraceError("DATA_LOSS", "a file became shorter while read");
    filled += bytesRead;
  }
  return body;
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

function folderClash(store: string, key: string): MillraceError {
  return new MillraceError(
    "INVALID_ARGUMENT",
    `${store}: ${key} would be both an object and a folder of other objects; use another key`,
    { field: "key" },
  );
}
