/**
 * The entries of a MetaStore as objects, with conditional writes whose outcome is known.
 *
 * @module
 */

import { MillraceError, type Random } from "@millrace/types";
import type { ObjectStore, PutOptions } from "../object-store.ts";
import {
  decodeRecord,
  encodeRecord,
  encodeTombstone,
  type MetaRecord,
  recordNonceBytes,
  sameNonce,
  tombstoneBytes,
} from "./record.ts";

/** An object that was read: a record, or the mark of a deleted key. */
export interface FoundRecord {
  etag: string;
  record: MetaRecord | undefined;
}

/** What a write is bound to: an etag, `null` for no object at all, `undefined` for nothing. */
export type Condition = string | null | undefined;

/** Entries under a prefix of an ObjectStore. */
export interface Records {
  read(key: string, signal?: AbortSignal): Promise<FoundRecord | undefined>;
  /** Keys and etags of what is not deleted, in no order. */
  infos(prefix: string, signal?: AbortSignal): Promise<Map<string, string>>;
  /** A nonce for a write whose outcome is to be looked up later. */
  createNonce(): Uint8Array;
  /** Writes and answers the etag. `PRECONDITION_FAILED` if the condition does not hold. */
  write(
    key: string,
    content: { value: Uint8Array; ttlMs: number; nonce?: Uint8Array },
    condition: Condition,
    signal?: AbortSignal,
  ): Promise<string>;
  /** Marks a key as deleted, since stores do not delete under a condition. */
  bury(key: string, etag: string, signal?: AbortSignal): Promise<void>;
  /** Removes the object whatever it is. */
  remove(key: string, signal?: AbortSignal): Promise<void>;
}

// Lets a key be the folder of another on a file system: `a.meta` beside `a/b.meta`.
const suffix = ".meta";

/** Entries in the objects `<root><key>.meta`. */
export function createRecords(store: ObjectStore, root: string, random: Random): Records {
  const objectOf = (key: string): string => root + key + suffix;

  const read = async (key: string, signal?: AbortSignal): Promise<FoundRecord | undefined> => {
    const found = await store.get(objectOf(key), optionsOf(signal));
    if (found === undefined) return undefined;
    return { etag: found.etag, record: decodeRecord(key, found.body) };
  };

  const writeBytes = async (
    key: string,
    body: Uint8Array,
    condition: Condition,
    signal: AbortSignal | undefined,
  ): Promise<string> => {
    const options: PutOptions = optionsOf(signal);
    if (condition === null) options.ifAbsent = true;
    else if (condition !== undefined) options.ifMatch = condition;
    try {
      return (await store.put(objectOf(key), body, options)).etag;
    } catch (error) {
      if (!MillraceError.is(error) || !error.maybeApplied) throw error;
      // The answer was lost. If the object has this write's nonce, the write is what is there.
      const current = await store.get(objectOf(key), optionsOf(signal));
      if (current !== undefined && sameNonce(current.body, body)) return current.etag;
      throw error;
    }
  };

  const createNonce = (): Uint8Array => random.bytes(recordNonceBytes);

  return {
    read,
    createNonce,
    async infos(prefix, signal) {
      const infos = new Map<string, string>();
      for await (const info of store.list({ ...optionsOf(signal), prefix: root + prefix })) {
        const isEntry = info.key.endsWith(suffix) && info.size !== tombstoneBytes;
        const key = info.key.slice(root.length, -suffix.length);
        // A prefix may have matched the suffix alone.
        if (isEntry && key.startsWith(prefix)) infos.set(key, info.etag);
      }
      return infos;
    },
    write: (key, { value, ttlMs, nonce = createNonce() }, condition, signal) => {
      const record = { nonce, ttlMs, value };
      return writeBytes(key, encodeRecord(record), condition, signal);
    },
    async bury(key, etag, signal) {
      await writeBytes(key, encodeTombstone(createNonce()), etag, signal);
    },
    remove: (key, signal) => store.delete(objectOf(key), optionsOf(signal)),
  };
}

function optionsOf(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
