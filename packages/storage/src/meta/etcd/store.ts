/**
 * MetaStore on etcd.
 *
 * @module
 */

import { MillraceError, silentLogger } from "@millrace/types";
import type {
  ExpectOptions,
  Lease,
  LeaseOptions,
  MetaEntry,
  MetaEvent,
  MetaStore,
} from "../../meta-store.ts";
import {
  checkMetaKey,
  checkTtl,
  checkValue,
  closedError,
  defaultTtlMs,
  expectationFailed,
} from "../check.ts";
import type { HeldLease } from "../hold.ts";
import { createEtcdClient, type EtcdClient } from "./client.ts";
import { absent, createEntries, type Entries } from "./entries.ts";
import { takeEtcdLease } from "./lease.ts";
import { type EtcdMetaStoreOptions, locateEtcd } from "./options.ts";
import { type WatchContext, watchPrefix } from "./watch.ts";

const maxAttempts = 100;

/**
 * A MetaStore on an etcd from 3.4 on, over its JSON gateway, for any number of processes. Asks nothing
 * of etcd until it is used. Throws `INVALID_ARGUMENT` with the field of an option that is wrong.
 *
 * Certificates of an authority of one's own are the runtime's to know (`NODE_EXTRA_CA_CERTS`,
 * `DENO_CERT`), or those of the `fetch` that is handed in.
 */
export function createEtcdMetaStore(options: EtcdMetaStoreOptions): MetaStore {
  return new EtcdMetaStore(options);
}

class EtcdMetaStore implements MetaStore {
  readonly name: string;
  readonly #client: EtcdClient;
  readonly #entries: Entries;
  readonly #watching: WatchContext;
  readonly #leases = new Set<HeldLease>();
  /** First looks of watches that are under way. */
  readonly #looks = new Set<Promise<unknown>>();
  readonly #closed = new AbortController();

  constructor(options: EtcdMetaStoreOptions) {
    const { pageSize = 512, watchRenewMs = 30_000, logger = silentLogger } = options;
    const { clock, random } = options;
    const location = locateEtcd(options);
    this.name = location.name;
    this.#client = createEtcdClient(options, location);
    this.#entries = createEntries(this.#client, pageSize, random);
    this.#watching = {
      ...{ client: this.#client, entries: this.#entries },
      ...{ renewMs: watchRenewMs, clock, random, logger },
    };
  }

  async get(key: string, options: { signal?: AbortSignal } = {}): Promise<MetaEntry | undefined> {
    checkMetaKey(key);
    await this.#ready(options.signal);
    return await this.#entries.read(key, options.signal);
  }

  async list(prefix: string, options: { signal?: AbortSignal } = {}): Promise<MetaEntry[]> {
    await this.#ready(options.signal);
    return (await this.#entries.snapshot(prefix, options.signal)).entries;
  }

  async put(key: string, value: Uint8Array, options: ExpectOptions = {}): Promise<string> {
    checkMetaKey(key);
    checkValue(value);
    // The caller may use its buffer again while this is under way.
    const copy = value.slice();
    await this.#ready(options.signal);
    return await this.#write(key, copy, options);
  }

  async delete(key: string, options: ExpectOptions = {}): Promise<void> {
    checkMetaKey(key);
    await this.#ready(options.signal);
    const { expected, signal } = options;
    if (expected !== null) {
      await this.#write(key, undefined, options);
      return;
    }
    const found = await this.#entries.peek(key, signal);
    if (found !== undefined) throw expectationFailed(this.name, key, null, found.mod_revision);
  }

  watch(prefix: string, options: { signal: AbortSignal }): AsyncIterable<MetaEvent> {
    if (this.#closed.signal.aborted) throw closedError(this.name);
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    // What is read or written after this call must not be older than the watch's first look.
    const look = this.#entries.snapshot(prefix, signal);
    const settled = look.catch(() => undefined).finally(() => this.#looks.delete(settled));
    this.#looks.add(settled);
    return watchPrefix(this.#watching, prefix, look, signal);
  }

  async lease(key: string, options: LeaseOptions): Promise<Lease | undefined> {
    checkMetaKey(key);
    checkValue(options.value);
    checkTtl(options.ttlMs);
    const content = { value: options.value.slice(), ttlMs: options.ttlMs ?? defaultTtlMs };
    await this.#ready(undefined);
    const lease = await takeEtcdLease(this.#watching, key, content);
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
    const dropped = [...this.#leases].map((lease) => lease.drop(reason));
    this.#client.close();
    await Promise.all([...dropped, ...this.#looks]);
  }

  async #ready(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed.signal.aborted) throw closedError(this.name);
    signal?.throwIfAborted();
    if (this.#looks.size > 0) await Promise.all(this.#looks);
  }

  /** Writes, or deletes with `undefined`; answers the revision. */
  async #write(
    key: string,
    value: Uint8Array | undefined,
    options: ExpectOptions,
  ): Promise<string> {
    const { expected, signal } = options;
    if (expected === undefined) return await this.#overwrite(key, value, signal);
    // Revisions of another store, or of none, fit no entry here.
    const isRevision = expected === null || /^[1-9]\d{0,15}$/.test(expected);
    if (!isRevision) throw expectationFailed(this.name, key, expected, undefined);
    const written = await this.#entries.write(key, value, expected ?? absent, { signal });
    if ("revision" in written) return written.revision;
    const { found, maybeApplied } = written;
    const current = found === absent ? undefined : found;
    throw expectationFailed(this.name, key, expected, current, maybeApplied);
  }

  /**
   * Writes whatever there is, under the condition that nothing comes between: so an attempt that
   * arrives late cannot undo what others wrote since.
   */
  async #overwrite(
    key: string,
    value: Uint8Array | undefined,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    let base = (await this.#entries.peek(key, signal))?.mod_revision ?? absent;
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      if (base === absent && value === undefined) return absent;
      const written = await this.#entries.write(key, value, base, { signal });
      if ("revision" in written) return written.revision;
      base = written.found;
    }
    throw new MillraceError("UNAVAILABLE", `${this.name}: ${key} changes all the time`);
  }
}
