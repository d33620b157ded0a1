/**
 * MetaStore: small values under keys, with revisions, watches and leases.
 *
 * @module
 */

/** A value and the revision it has. */
export interface MetaEntry {
  key: string;
  value: Uint8Array;
  /** Opaque; changes whenever the value is written. */
  revision: string;
}

/** What happened to a key. */
export type MetaEvent = { type: "put"; entry: MetaEntry } | { type: "delete"; key: string };

/** Options of {@linkcode MetaStore.put} and {@linkcode MetaStore.delete}. */
export interface ExpectOptions {
  /**
   * The revision that the key must have; `null`: it must not exist. Else `PRECONDITION_FAILED`, and
   * nothing is written. The default writes whatever there is.
   */
  expected?: string | null;
  signal?: AbortSignal;
}

/** A claim on a key that ends by itself when it is not renewed. */
export interface Lease {
  /**
   * Aborted as soon as the lease is lost, ended or closed, and in time if the store is away: before
   * another can have it. What takes effect elsewhere must still be fenced, since a process may be
   * paused between a look at the signal and the effect.
   */
  readonly signal: AbortSignal;
  /**
   * `true` while no other can have it. The signal is aborted by a timer, which is late in a process
   * that stood still; this looks at the clock.
   */
  isHeld(): boolean;
  /** Gives it up, so that the next one need not wait for its end. Nothing if it has ended. */
  release(): Promise<void>;
}

/** Options of {@linkcode MetaStore.lease}. */
export interface LeaseOptions {
  /** Who holds it, for others to read. */
  value: Uint8Array;
  /** How long it holds without renewal, in milliseconds. Default 5000. The store renews it. */
  ttlMs?: number;
}

/**
 * Small values (to 1 MiB) under keys. Keys as in ObjectStore, but of at most 800 bytes, 240 between
 * slashes, and one may be the folder of another. Durable when a call resolves; reads see every write
 * that was answered before. A write whose answer was lost is read back and answered for; what fails
 * with `maybeApplied` all the same may have been written.
 */
export interface MetaStore {
  /** For logs and errors, without secrets. */
  readonly name: string;
  get(key: string, options?: { signal?: AbortSignal }): Promise<MetaEntry | undefined>;
  /** All entries whose key begins with the prefix, in order of their keys' UTF-8 bytes. */
  list(prefix: string, options?: { signal?: AbortSignal }): Promise<MetaEntry[]>;
  /** Writes a value and answers its revision. */
  put(key: string, value: Uint8Array, options?: ExpectOptions): Promise<string>;
  /** Removes a key; without `expected` a success if there is none. */
  delete(key: string, options?: ExpectOptions): Promise<void>;
  /**
   * What changes under a prefix from now on; the latest state of a key is never missed, states in
   * between may be. Who needs all of the state calls `watch` first and `list` then; what stood before
   * may be told as well. Ends when the signal is aborted. A watch that cannot begin because the store
   * is away rejects, and is to be called anew; one that has begun goes on when the store is back.
   */
  watch(prefix: string, options: { signal: AbortSignal }): AsyncIterable<MetaEvent>;
  /**
   * Takes the lease on a key, or answers `undefined` while another holds it. A holder that died is
   * noticed by asking again: its time counts from its last renewal, or, where nobody else counts, from
   * when this store first saw that.
   */
  lease(key: string, options: LeaseOptions): Promise<Lease | undefined>;
  close(): Promise<void>;
}
