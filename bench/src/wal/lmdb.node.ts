/**
 * lmdb as a log: puts of an event turn share a transaction, which is on disk when they resolve.
 *
 * @module
 */

import { open } from "lmdb";
import type { Store } from "./store.ts";

/** Opens an environment for binary values under ascending keys. */
export function openLmdb(path: string): Store {
  const database = open<Uint8Array, number>({
    path,
    encoding: "binary",
    keyEncoding: "uint32",
    // Faster than the default, which needs a second wait, for `flushed`, to be durable.
    overlappingSync: false,
  });
  let next = 0;
  return {
    async commit(count, record) {
      let last: Promise<boolean> = Promise.resolve(true);
      for (let i = 0; i < count; i++) last = database.put(next++, record);
      await last;
    },
    close: () => database.close(),
  };
}
