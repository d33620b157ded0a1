/**
 * MetaStore in a folder.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import type { Clock } from "@millrace/types";
import { createLocalMetaStore } from "../meta/local.ts";
import type { MetaStore } from "../meta-store.ts";
import { lockFolder } from "./lock.node.ts";
import { createFileObjectStore } from "./object-store.node.ts";

/** Options of {@linkcode createFileMetaStore}. */
export interface FileMetaStoreOptions {
  /** The folder; it is made if it is missing. */
  dir: string;
  /** Default: the system's. */
  clock?: Clock;
}

// Lets a key be the folder of another: `a.value` beside `a/b.value`.
const suffix = ".value";

/**
 * Opens a folder as a MetaStore for this process alone: a second one is refused with
 * `PRECONDITION_FAILED`. A value is a file at `<dir>/<key>.value`, on the disk before a call resolves.
 * Leases end with the process.
 */
export async function createFileMetaStore(options: FileMetaStoreOptions): Promise<MetaStore> {
  const dir = resolve(options.dir);
  const lock = await lockFolder(dir);
  try {
    const store = await createFileObjectStore({
      dir,
      ...(options.clock === undefined ? {} : { clock: options.clock }),
    });
    const entries: [string, Uint8Array][] = [];
    for await (const { key } of store.list()) {
      if (!key.endsWith(suffix)) continue;
      const found = await store.get(key);
      if (found !== undefined) entries.push([key.slice(0, -suffix.length), found.body]);
    }
    return createLocalMetaStore({
      name: `file:${dir}`,
      entries,
      revisionPrefix: `${randomBytes(6).toString("hex")}-`,
      journal: {
        async write(key, value) {
          if (value === undefined) await store.delete(key + suffix);
          else await store.put(key + suffix, value);
        },
        async close() {
          await store.close();
          await lock.release();
        },
      },
    });
  } catch (error) {
    await lock.release();
    throw error;
  }
}
