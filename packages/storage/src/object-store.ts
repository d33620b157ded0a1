/**
 * ObjectStore: bytes under keys, with conditional writes.
 *
 * @module
 */

/** What is known of an object. */
export interface ObjectInfo {
  /** Its key, relative to the store's root. */
  key: string;
  /** In bytes. */
  size: number;
  /** Opaque; changes whenever the bytes do. Some stores keep it when the same bytes are written. */
  etag: string;
}

/** An object and its bytes. */
export interface StoredObject extends ObjectInfo {
  body: Uint8Array;
}

/** Options of {@linkcode ObjectStore.get}. */
export interface GetOptions {
  /** Only these bytes: `start` inclusive, `end` exclusive. The default is all of them. */
  range?: { start: number; end: number };
  signal?: AbortSignal;
}

/** Options of {@linkcode ObjectStore.put}. */
export interface PutOptions {
  /** Write only if there is no such object; else `PRECONDITION_FAILED`. */
  ifAbsent?: boolean;
  /** Write only if the object has this etag; else `PRECONDITION_FAILED`. */
  ifMatch?: string;
  /** A media type. Default `application/octet-stream`. */
  contentType?: string;
  signal?: AbortSignal;
}

/** Options of {@linkcode ObjectStore.list}. */
export interface ListOptions {
  /** Only keys that begin so. The default is all. */
  prefix?: string;
  /** Only keys behind this one. */
  after?: string;
  signal?: AbortSignal;
}

/**
 * Bytes under keys.
 *
 * Keys are UTF-8 text of 1 to 900 bytes without control characters, segments of at most 255 bytes
 * separated by `/`, none of them empty, `.` or `..`; what begins with `.millrace` is the adapters'
 * own. Another key is `INVALID_ARGUMENT`. No key should be a folder of another (`a` beside `a/b`): a
 * store on a file system refuses that with `INVALID_ARGUMENT`.
 *
 * A call whose signal is aborted rejects with the signal's reason. Reads see every write that was
 * answered before (strong consistency). A put that fails and says `maybeApplied` may have been
 * written; with `PRECONDITION_FAILED` its bytes do not stand there now, but may have for a while.
 */
export interface ObjectStore {
  /** For logs and errors, without secrets: `memory`, `file:/data`, `s3://bucket/prefix`. */
  readonly name: string;
  /** The object, or `undefined` if there is none. A range past the end gives what there is. */
  get(key: string, options?: GetOptions): Promise<StoredObject | undefined>;
  /** What is known of the object, or `undefined` if there is none. */
  head(key: string, options?: { signal?: AbortSignal }): Promise<ObjectInfo | undefined>;
  /**
   * Writes an object whole: a reader sees the old bytes or the new ones. Durable when it resolves. An
   * iterable is read once, with bounded memory, and ended if the put fails.
   *
   * Conditional puts are atomic among all writers and take a Uint8Array of at most 8 MiB.
   */
  put(
    key: string,
    body: Uint8Array | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<ObjectInfo>;
  /** The objects in order of their keys' UTF-8 bytes. */
  list(options?: ListOptions): AsyncIterable<ObjectInfo>;
  /** Removes an object; a success if there is none. */
  delete(key: string, options?: { signal?: AbortSignal }): Promise<void>;
  close(): Promise<void>;
}
