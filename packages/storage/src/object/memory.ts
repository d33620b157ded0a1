/**
 * ObjectStore in memory.
 *
 * @module
 */

import {
  checkKey,
  checkPut,
  checkRange,
  collectBody,
  compareKeys,
  preconditionFailed,
} from "../keys.ts";
import type { ObjectInfo, ObjectStore } from "../object-store.ts";

/**
 * An ObjectStore that lives as long as the process: for tests, and for a server whose data may be
 * lost. Bodies are copied on the way in and on the way out.
 */
export function createMemoryObjectStore(): ObjectStore {
  const name = "memory";
  const objects = new Map<string, { body: Uint8Array; etag: string }>();
  let writes = 0;

  const describe = (key: string, object: { body: Uint8Array; etag: string }): ObjectInfo => ({
    key,
    size: object.body.length,
    etag: object.etag,
  });

  return {
    name,
    async get(key, options = {}) {
      checkKey(key);
      checkRange(options.range);
      options.signal?.throwIfAborted();
      const object = objects.get(key);
      if (object === undefined) return undefined;
      const body = object.body.slice(options.range?.start, options.range?.end);
      return { ...describe(key, object), body };
    },
    async head(key, options = {}) {
      checkKey(key);
      options.signal?.throwIfAborted();
      const object = objects.get(key);
      return object === undefined ? undefined : describe(key, object);
    },
    async put(key, body, options = {}) {
      checkKey(key);
      checkPut(body, options);
      options.signal?.throwIfAborted();
      const bytes = (await collectBody(body, options.signal)).slice();
      options.signal?.throwIfAborted();
      // From here to the write nothing awaits, which makes conditions atomic.
      const current = objects.get(key)?.etag;
      const holds = options.ifAbsent
        ? current === undefined
        : options.ifMatch === undefined || options.ifMatch === current;
      if (!holds) throw preconditionFailed(name, key, options, current);
      writes += 1;
      const object = { body: bytes, etag: String(writes) };
      objects.set(key, object);
      return describe(key, object);
    },
    async *list(options = {}) {
      const { prefix = "", after, signal } = options;
      signal?.throwIfAborted();
      const keys = [...objects.keys()]
        .filter((key) => key.startsWith(prefix))
        .filter((key) => after === undefined || compareKeys(key, after) > 0)
        .sort(compareKeys);
      for (const key of keys) {
        signal?.throwIfAborted();
        const object = objects.get(key);
        if (object !== undefined) yield describe(key, object);
      }
    },
    async delete(key, options = {}) {
      checkKey(key);
      options.signal?.throwIfAborted();
      objects.delete(key);
    },
    close: () => Promise.resolve(),
  };
}
