/**
 * MetaStore of one process: its state is in memory, and a journal makes it durable if need be.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { compareKeys } from "../keys.ts";
import type {
  ExpectOptions,
  Lease,
  LeaseOptions,
  MetaEntry,
  MetaEvent,
  MetaStore,
} from "../meta-store.ts";
import { checkMetaKey, checkTtl, checkValue, closedError, expectationFailed } from "./check.ts";
import { createEventQueue, type EventQueue } from "./events.ts";

/** Where a local store keeps what must outlive the process. */
export interface Journal {
  /** Makes a write durable; `undefined` removes the key. */
  write(key: string, value: Uint8Array | undefined): Promise<void>;
  close(): Promise<void>;
}

/** Options of {@linkcode createLocalMetaStore}. */
export interface LocalMetaStoreOptions {
  name: string;
  /** What there is at the start. */
  entries: Iterable<[key: string, value: Uint8Array]>;
  journal: Journal;
  /** Begins each revision, so that those of an earlier run are never taken for this one's. */
  revisionPrefix: string;
}

/** A MetaStore over a map and a journal. Writes go through the journal one at a time. */
export function createLocalMetaStore(options: LocalMetaStoreOptions): MetaStore {
  return new LocalMetaStore(options);
}

class LocalMetaStore implements MetaStore {
  readonly name: string;
  readonly #journal: Journal;
  readonly #revisionPrefix: string;
  readonly #entries = new Map<string, MetaEntry>();
  readonly #watchers = new Set<{ prefix: string; queue: EventQueue }>();
  readonly #leases = new Map<string, { revision: string; lost: AbortController }>();
  readonly #closed = new AbortController();
  #writes = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(options: LocalMetaStoreOptions) {
    this.name = options.name;
    this.#journal = options.journal;
    this.#revisionPrefix = options.revisionPrefix;
    for (const [key, value] of options.entries) {
      this.#entries.set(key, { key, value, revision: this.#nextRevision() });
    }
  }

  async get(key: string, options: { signal?: AbortSignal } = {}): Promise<MetaEntry | undefined> {
    checkMetaKey(key);
    this.#checkOpen(options.signal);
    const entry = this.#entries.get(key);
    return entry === undefined ? undefined : copyOf(entry);
  }

  async list(prefix: string, options: { signal?: AbortSignal } = {}): Promise<MetaEntry[]> {
    this.#checkOpen(options.signal);
    return [...this.#entries.values()]
      .filter((entry) => entry.key.startsWith(prefix))
      .sort((a, b) => compareKeys(a.key, b.key))
      .map(copyOf);
  }

  async put(key: string, value: Uint8Array, options: ExpectOptions = {}): Promise<string> {
    checkMetaKey(key);
    checkValue(value);
    this.#checkOpen(options.signal);
    const copy = value.slice();
    return await this.#inTurn(async () => {
      this.#checkExpected(key, options);
      await this.#journal.write(key, copy);
      return this.#set(key, copy);
    });
  }

  async delete(key: string, options: ExpectOptions = {}): Promise<void> {
    checkMetaKey(key);
    this.#checkOpen(options.signal);
    await this.#inTurn(async () => {
      this.#checkExpected(key, options);
      if (!this.#entries.has(key)) return;
      await this.#journal.write(key, undefined);
      this.#unset(key);
    });
  }

  watch(prefix: string, options: { signal: AbortSignal }): AsyncIterable<MetaEvent> {
    this.#checkOpen(undefined);
    const watcher = { prefix, queue: createEventQueue() };
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    const stop = (): void => {
      this.#watchers.delete(watcher);
    };
    this.#watchers.add(watcher);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    return watcher.queue.read(signal);
  }

  async lease(key: string, options: LeaseOptions): Promise<Lease | undefined> {
    checkMetaKey(key);
    checkValue(options.value);
    checkTtl(options.ttlMs);
    this.#checkOpen(undefined);
    const value = options.value.slice();
    return await this.#inTurn(async () => {
      if (this.#leases.has(key)) return undefined;
      // Not in the journal: the holder lives in this process, so when it has ended the lease has too.
      const revision = this.#set(key, value);
      const lost = new AbortController();
      this.#leases.set(key, { revision, lost });
      return {
        signal: lost.signal,
        isHeld: () => !lost.signal.aborted,
        release: async () => {
          if (this.#leases.get(key)?.revision === revision) this.#unset(key);
        },
      };
    });
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(closedError(this.name));
    await this.#last;
    for (const { lost } of this.#leases.values()) lost.abort(closedError(this.name));
    this.#leases.clear();
    await this.#journal.close();
  }

  #checkOpen(signal: AbortSignal | undefined): void {
    if (this.#closed.signal.aborted) throw closedError(this.name);
    signal?.throwIfAborted();
  }

  #checkExpected(key: string, options: ExpectOptions): void {
    if (options.expected === undefined) return;
    const current = this.#entries.get(key)?.revision;
    if ((current ?? null) !== options.expected) {
      throw expectationFailed(this.name, key, options.expected, current);
    }
  }

  /** Runs writes one after the other: a condition must hold until its write is durable. */
  async #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(action);
    this.#last = turn.then(
      () => undefined,
      () => undefined,
    );
    return await turn;
  }

  #set(key: string, value: Uint8Array): string {
    this.#loseLease(key);
    const entry = { key, value, revision: this.#nextRevision() };
    this.#entries.set(key, entry);
    this.#tell(key, () => ({ type: "put", entry: copyOf(entry) }));
    return entry.revision;
  }

  #unset(key: string): void {
    this.#loseLease(key);
    this.#entries.delete(key);
    this.#tell(key, () => ({ type: "delete", key }));
  }

  #loseLease(key: string): void {
    const lease = this.#leases.get(key);
    if (lease === undefined) return;
    this.#leases.delete(key);
    lease.lost.abort(
      new MillraceError("PRECONDITION_FAILED", `${this.name}: the lease ${key} has ended`),
    );
  }

  #tell(key: string, event: () => MetaEvent): void {
    for (const { prefix, queue } of this.#watchers) {
      if (key.startsWith(prefix)) queue.push(event());
    }
  }

  #nextRevision(): string {
    this.#writes += 1;
    return `${this.#revisionPrefix}${this.#writes}`;
  }
}

function copyOf(entry: MetaEntry): MetaEntry {
  return { ...entry, value: entry.value.slice() };
}
