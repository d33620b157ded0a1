/**
 * Reading entries from etcd, and writing them under a condition.
 *
 * A write is one transaction that compares the key's revision. Its bytes hold a nonce. When an answer
 * was lost and the same transaction is refused at the next attempt, the history that etcd keeps tells
 * which write replaced the expected revision, and the nonce whose it was.
 *
 * @module
 */

import { MillraceError, type Random } from "@millrace/types";
import type { MetaEntry } from "../../meta-store.ts";
import { decodeRecord, encodeRecord, recordNonceBytes, sameNonce } from "../record.ts";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import type { EtcdClient } from "./client.ts";
import {
  decodeKey,
  encodeKey,
  type KeyValue,
  type RangeResponse,
  rangeAfter,
  rangeOf,
  type TxnResponse,
} from "./messages.ts";

/** The revision of a key that does not exist. */
export const absent = "0";

/** All entries at one moment. */
export interface Snapshot {
  entries: MetaEntry[];
  /** Of the store, at that moment. */
  revision: number;
}

/** What became of a conditional write. */
export type WriteOutcome =
  | { revision: string }
  /** Nothing was written, unless `maybeApplied`; `found` is the key's revision, or `"0"`. */
  | { found: string; maybeApplied: boolean };

/** Entries under the location's prefix. */
export interface Entries {
  read(key: string, signal?: AbortSignal): Promise<MetaEntry | undefined>;
  /** The key's state without its value; `undefined` if there is none. */
  peek(key: string, signal?: AbortSignal, limits?: TimeLimits): Promise<KeyValue | undefined>;
  /** All that begin with the prefix, in the order of their bytes. */
  snapshot(prefix: string, signal?: AbortSignal): Promise<Snapshot>;
  /**
   * Writes a value, or deletes with `undefined`, if the key has the revision `base`, `"0"` for none.
   * With a lease's id the entry ends with that.
   */
  write(
    key: string,
    value: Uint8Array | undefined,
    base: string,
    options?: WriteOptions,
  ): Promise<WriteOutcome>;
  /** The entry that a message tells of. Throws `DATA_LOSS` if it is none of this store's. */
  entryOf(kv: KeyValue): MetaEntry;
  /** The key that a message tells of. */
  keyOf(kv: KeyValue): string;
}

/** Options of {@linkcode Entries.write}. */
export interface WriteOptions {
  lease?: string;
  ttlMs?: number;
  signal?: AbortSignal | undefined;
}

/** As in EtcdCall. */
export interface TimeLimits {
  requestTimeoutMs: number;
  callTimeoutMs: number;
}

const pageBytes = 4 * 1024 * 1024;
const firstPage = 16;
const maxSnapshots = 5;

/** Makes them of a client. */
export function createEntries(client: EtcdClient, pageSize: number, random: Random): Entries {
  const { name, root } = client.location;

  const keyOf = (kv: KeyValue): string => decodeKey(kv.key).slice(root.length);
  const entryOf = (kv: KeyValue): MetaEntry => {
    const key = keyOf(kv);
    const record = decodeRecord(key, decodeBase64(kv.value ?? ""));
    if (record !== undefined) return { key, value: record.value, revision: kv.mod_revision ?? "" };
    throw new MillraceError("DATA_LOSS", `${name}: ${key} was not written by this program`);
  };

  /** The key as it was at a revision; by default as it is. */
  const lookUp = async (
    key: string,
    signal: AbortSignal | undefined,
    options: { keys_only?: boolean; revision?: number } = {},
    limits?: TimeLimits,
  ): Promise<KeyValue | undefined> => {
    const body = { key: encodeKey(root + key), ...options };
    const call = { doing: `read ${key}`, path: "kv/range", body, signal, ...limits };
    return (await client.call<RangeResponse>(call)).message.kvs?.[0];
  };

  const page = async (
    prefix: string,
    body: object,
    limit: number,
    signal: AbortSignal | undefined,
  ): Promise<RangeResponse & { limit: number }> => {
    for (;;) {
      try {
        const doing = `list ${prefix === "" ? "all" : prefix}`;
        const call = { doing, path: "kv/range", body: { ...body, limit }, signal };
        return { ...(await client.call<RangeResponse>(call)).message, limit };
      } catch (error) {
        const isTooLarge = MillraceError.is(error) && error.field === "limit";
        if (!isTooLarge || limit === 1) throw error;
        limit = Math.ceil(limit / 8);
      }
    }
  };

  const pages = async (prefix: string, signal: AbortSignal | undefined): Promise<Snapshot> => {
    const entries: MetaEntry[] = [];
    let range = rangeOf(root + prefix);
    let revision = 0;
    let bytes = 0;
    let limit = Math.min(firstPage, pageSize);
    for (;;) {
      const body = revision === 0 ? range : { ...range, revision };
      const answer = await page(prefix, body, limit, signal);
      const kvs = answer.kvs ?? [];
      if (revision === 0) revision = Number(answer.header?.revision ?? 0);
      for (const kv of kvs) {
        const entry = entryOf(kv);
        bytes += entry.value.length;
        entries.push(entry);
      }
      const last = kvs.at(-1)?.key;
      if (answer.more !== true || last === undefined) return { entries, revision };
      range = rangeAfter(range, last);
      // As many as are likely to fill a page, but growing slowly: the next may be larger.
      const likely = Math.floor(pageBytes / (bytes / entries.length + 1));
      limit = Math.max(1, Math.min(likely, answer.limit * 4, pageSize));
    }
  };

  /** The revision at which `base` was replaced, given one at which it no longer stood. */
  const findReplacement = async (
    key: string,
    base: number,
    after: number,
    signal: AbortSignal | undefined,
  ): Promise<number> => {
    let [low, high] = [base, after];
    // Mostly there is one write in between.
    let middle = high - 1;
    while (high - low > 1) {
      const kv = await lookUp(key, signal, { keys_only: true, revision: middle });
      const found = Number(kv?.mod_revision ?? 0);
      if (found === base) low = middle;
      else high = found === 0 ? middle : Math.min(middle, found);
      middle = Math.floor((low + high) / 2);
    }
    return high;
  };

  /** Whether the write that replaced `base` was the one with this nonce, and at which revision. */
  const settle = async (
    key: string,
    body: Uint8Array | undefined,
    base: string,
    refusal: { current: KeyValue | undefined; revision: number },
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome> => {
    const { current } = refusal;
    const found = current?.mod_revision ?? absent;
    try {
      // A key that is gone again may have been created by this write.
      if (base === absent && current === undefined) return { found, maybeApplied: true };
      const replaced =
        base === absent
          ? Number(current?.create_revision)
          : await findReplacement(key, Number(base), Number(found) || refusal.revision, signal);
      const kv = await lookUp(key, signal, { revision: replaced });
      const isOwn =
        kv === undefined
          ? body === undefined
          : body !== undefined && sameNonce(decodeBase64(kv.value ?? ""), body);
      if (isOwn) return { revision: String(replaced) };
      // What was created before another's key came to be could have been deleted again.
      return { found, maybeApplied: base === absent };
    } catch (error) {
      // The history has been compacted.
      if (MillraceError.is(error, "OUT_OF_RANGE")) return { found, maybeApplied: true };
      throw error;
    }
  };

  return {
    async read(key, signal) {
      const kv = await lookUp(key, signal);
      return kv === undefined ? undefined : entryOf(kv);
    },
    peek: (key, signal, limits) => lookUp(key, signal, { keys_only: true }, limits),
    async snapshot(prefix, signal) {
      for (let attempt = 1; ; attempt++) {
        try {
          return await pages(prefix, signal);
        } catch (error) {
          // The revision of the first page was compacted before the last page was read.
          const isStale = MillraceError.is(error, "OUT_OF_RANGE");
          if (!isStale || attempt === maxSnapshots) throw error;
        }
      }
    },
    async write(key, value, base, { lease, ttlMs = 0, signal } = {}) {
      const at = encodeKey(root + key);
      const nonce = random.bytes(recordNonceBytes);
      const body = value && encodeRecord({ nonce, ttlMs, value });
      const operation =
        body === undefined
          ? { request_delete_range: { key: at } }
          : { request_put: { key: at, value: encodeBase64(body), ...(lease ? { lease } : {}) } };
      const { message, maybeRepeated } = await client.call<TxnResponse>({
        doing: `${body === undefined ? "delete" : "write"} ${key}`,
        path: "kv/txn",
        writes: true,
        body: {
          compare: [{ key: at, target: "MOD", result: "EQUAL", mod_revision: base }],
          success: [operation],
          failure: [{ request_range: { key: at, keys_only: true } }],
        },
        signal,
      });
      const revision = message.header?.revision ?? absent;
      if (message.succeeded) return { revision };
      const current = message.responses?.[0]?.response_range?.kvs?.[0];
      if (!maybeRepeated) {
        return { found: current?.mod_revision ?? absent, maybeApplied: false };
      }
      const refusal = { current, revision: Number(revision) };
      return await settle(key, body, base, refusal, signal);
    },
    entryOf,
    keyOf,
  };
}
