/**
 * MetaStore over any ObjectStore with conditional writes.
 *
 * @module
 */

import {
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
  silentLogger,
} from "@millrace/types";
import { compareKeys } from "../keys.ts";
import type {
  ExpectOptions,
  Lease,
  LeaseOptions,
  MetaEntry,
  MetaEvent,
  MetaStore,
} from "../meta-store.ts";
import type { ObjectStore } from "../object-store.ts";
import {
  checkMetaKey,
  checkTtl,
  checkValue,
  closedError,
  defaultTtlMs,
  expectationFailed,
} from "./check.ts";
import type { HeldLease } from "./hold.ts";
import { type Observations, takeLease } from "./lease.ts";
import { createRecords, type Records } from "./records.ts";

/** Options of {@linkcode createObjectMetaStore}. */
export interface ObjectMetaStoreOptions {
  /** The folder of its objects, such as `meta`. Up to 80 bytes. */
  prefix: string;
  clock: Clock;
  random: Random;
  /** How often a watch looks for changes, in milliseconds. Default 500. */
  pollMs?: number;
  /** Told when a watch cannot look. Default: nobody. */
  logger?: Logger;
}

const readsAtOnce = 8;
const maxAttempts = 20;

/**
 * A MetaStore whose entries are objects, for any number of processes. The ObjectStore must honour
 * conditional writes (`openS3ObjectStore` sees to that) and stays the caller's to close.
 *
 * A key deleted with `expected` leaves an object of 17 bytes, since object stores do not delete under
 * a condition. Watches poll.
 */
export function createObjectMetaStore(
  store: ObjectStore,
  options: ObjectMetaStoreOptions,
): MetaStore {
  return new ObjectMetaStore(store, options);
}

class ObjectMetaStore implements MetaStore {
  readonly name: string;
  readonly #records: Records;
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #logger: Logger;
  readonly #observations: Observations = new Map();
  readonly #leases = new Set<HeldLease>();
  /** First looks of watches that are under way. */
  readonly #looks = new Set<Promise<unknown>>();
  readonly #closed = new AbortController();

  constructor(store: ObjectStore, options: ObjectMetaStoreOptions) {
    const prefix = options.prefix.replace(/\/+$/, "");
    checkMetaKey(prefix);
    this.name = `${store.name}/${prefix}`;
    this.#records = createRecords(store, `${prefix}/`, options.random);
    this.#clock = options.clock;
    this.#pollMs = options.pollMs ?? 500;
    this.#logger = options.logger ?? silentLogger;
  }

  async get(key: string, options: { signal?: AbortSignal } = {}): Promise<MetaEntry | undefined> {
    checkMetaKey(key);
    await this.#ready(options.signal);
    return await this.#entry(key, options.signal);
  }

  async list(prefix: string, options: { signal?: AbortSignal } = {}): Promise<MetaEntry[]> {
    await this.#ready(options.signal);
    const infos = await this.#records.infos(prefix, options.signal);
    const entries: MetaEntry[] = [];
    for await (const [, entry] of this.#entries([...infos.keys()], options.signal)) {
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  async put(key: string, value: Uint8Array, options: ExpectOptions = {}): Promise<string> {
    checkMetaKey(key);
    checkValue(value);
    await this.#ready(options.signal);
    const { expected, signal } = options;
    const content = { value, ttlMs: 0 };
    if (expected === undefined) return await this.#records.write(key, content, undefined, signal);
    if (expected === null) {
      return await this.#whileAbsent(key, signal, (condition) =>
        this.#records.write(key, content, condition, signal),
      );
    }
    return await this.#expecting(key, expected, () =>
      this.#records.write(key, content, expected, signal),
    );
  }

  async delete(key: string, options: ExpectOptions = {}): Promise<void> {
    checkMetaKey(key);
    await this.#ready(options.signal);
    const { expected, signal } = options;
    if (expected === undefined) {
      await this.#records.remove(key, signal);
    } else if (expected === null) {
      const entry = await this.#entry(key, signal);
      if (entry !== undefined) throw expectationFailed(this.name, key, null, entry.revision);
    } else {
      await this.#expecting(key, expected, () => this.#records.bury(key, expected, signal));
    }
  }

  watch(prefix: string, options: { signal: AbortSignal }): AsyncIterable<MetaEvent> {
    if (this.#closed.signal.aborted) throw closedError(this.name);
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    // What is read or written after this call must not be older than the watch's first look.
    const look = this.#records.infos(prefix, signal);
    const settled = look.catch(() => undefined).finally(() => this.#looks.delete(settled));
    this.#looks.add(settled);
    return this.#changes(prefix, look, signal);
  }

  async lease(key: string, options: LeaseOptions): Promise<Lease | undefined> {
    checkMetaKey(key);
    checkValue(options.value);
    checkTtl(options.ttlMs);
    await this.#ready(undefined);
    const content = { value: options.value.slice(), ttlMs: options.ttlMs ?? defaultTtlMs };
    const context = { name: this.name, records: this.#records, clock: this.#clock };
    const lease = await takeLease(context, key, content, this.#observations);
    if (lease === undefined) return undefined;
    this.#leases.add(lease);
    lease.signal.addEventListener("abort", () => this.#leases.delete(lease), { once: true });
    if (this.#closed.signal.aborted) await lease.drop(closedError(this.name));
    return lease;
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    const reason = closedError(this.name);
    this.#closed.abort(reason);
    await Promise.all([...this.#leases].map((lease) => lease.drop(reason)));
    await Promise.all(this.#looks);
  }

  async #ready(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed.signal.aborted) throw closedError(this.name);
    signal?.throwIfAborted();
    if (this.#looks.size > 0) await Promise.all(this.#looks);
  }

  async #entry(key: string, signal: AbortSignal | undefined): Promise<MetaEntry | undefined> {
    const found = await this.#records.read(key, signal);
    if (found?.record === undefined) return undefined;
    return { key, value: found.record.value, revision: found.etag };
  }

  /** Reads keys in their order, several at once. */
  async *#entries(
    keys: string[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<[key: string, entry: MetaEntry | undefined]> {
    keys.sort(compareKeys);
    for (let start = 0; start < keys.length; start += readsAtOnce) {
      const some = keys.slice(start, start + readsAtOnce);
      const entries = await Promise.all(some.map((key) => this.#entry(key, signal)));
      for (const [i, key] of some.entries()) yield [key, entries[i]];
    }
  }

  /** Creates what is absent: no object, or the mark of a deleted key. */
  async #whileAbsent(
    key: string,
    signal: AbortSignal | undefined,
    write: (condition: string | null) => Promise<string>,
  ): Promise<string> {
    let condition: string | null = null;
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      try {
        return await write(condition);
      } catch (error) {
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
        const found = await this.#records.read(key, signal);
        if (found?.record !== undefined) {
          throw expectationFailed(this.name, key, null, found.etag, error.maybeApplied);
        }
        condition = found?.etag ?? null;
      }
    }
    throw new MillraceError("UNAVAILABLE", `${this.name}: ${key} changes all the time`);
  }

  async #expecting<T>(key: string, expected: string, write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
      throw expectationFailed(this.name, key, expected, error.expected, error.maybeApplied);
    }
  }

  async *#changes(
    prefix: string,
    firstLook: Promise<Map<string, string>>,
    signal: AbortSignal,
  ): AsyncGenerator<MetaEvent> {
    const known = new Map<string, string>();
    let look = firstLook;
    let hasBegun = false;
    while (!signal.aborted) {
      try {
        const infos = await look;
        hasBegun = true;
        yield* this.#differences(known, infos, signal);
        await delay(this.#clock, this.#pollMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!hasBegun || !MillraceError.is(error) || !error.retryable) throw error;
        this.#logger.warn("meta: a watch cannot look, trying again", { prefix, error });
        await delay(this.#clock, this.#pollMs, signal).catch(() => undefined);
      }
      look = this.#records.infos(prefix, signal);
    }
  }

  /** What changed since the last look; `known` follows. */
  async *#differences(
    known: Map<string, string>,
    infos: ReadonlyMap<string, string>,
    signal: AbortSignal,
  ): AsyncGenerator<MetaEvent> {
    for (const key of [...known.keys()]) {
      if (infos.has(key)) continue;
      known.delete(key);
      yield { type: "delete", key };
    }
    const changed = [...infos].filter(([key, etag]) => known.get(key) !== etag);
    for await (const [key, entry] of this.#entries(
      changed.map(([key]) => key),
      signal,
    )) {
      // What went away since the listing is told by the next look.
      if (entry === undefined) continue;
      known.set(key, entry.revision);
      yield { type: "put", entry };
    }
  }
}
