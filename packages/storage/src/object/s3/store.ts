/**
 * ObjectStore over the S3 protocol.
 *
 * @module
 */

import { MillraceError, type Random } from "@millrace/types";
import {
  checkKey,
  checkPut,
  checkRange,
  isKey,
  preconditionFailed,
  reservedPrefix,
} from "../../keys.ts";
import type {
  GetOptions,
  ListOptions,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  StoredObject,
} from "../../object-store.ts";
import { createS3Client, type S3Answer, type S3Client, toHex } from "./client.ts";
import { s3Error } from "./errors.ts";
import { etagOf } from "./etag.ts";
import { listPages } from "./listing.ts";
import { splitBody, uploadInParts } from "./multipart.ts";
import { locate, type S3ObjectStoreOptions } from "./options.ts";

/** The user metadata that names the call which wrote an object. */
const nonceHeader = "x-amz-meta-millrace-put";

/**
 * An ObjectStore over a bucket, without asking the server anything. Whoever relies on conditional
 * writes uses {@linkcode openS3ObjectStore}, which finds out first whether the server honours them.
 */
export function createS3ObjectStore(options: S3ObjectStoreOptions): ObjectStore {
  return createS3Store(options);
}

/** An ObjectStore that also writes under keys that users cannot name, for the probe. */
export interface S3Store extends ObjectStore {
  readonly client: S3Client;
  /** As `put`, for a key as it is in the bucket. */
  putSmall(key: string, body: Uint8Array, options: PutOptions): Promise<ObjectInfo>;
  /** As `delete`, for a key as it is in the bucket. */
  deleteWhole(key: string, signal?: AbortSignal): Promise<void>;
}

/** Makes the store with its inner face. */
export function createS3Store(options: S3ObjectStoreOptions): S3Store {
  return new S3ObjectStore(options);
}

class S3ObjectStore implements S3Store {
  readonly name: string;
  readonly client: S3Client;
  readonly #root: string;
  readonly #random: Random;
  readonly #pageSize: number;
  readonly #quotedIfMatch: boolean;
  readonly #options: S3ObjectStoreOptions;

  constructor(options: S3ObjectStoreOptions) {
    const location = locate(options);
    this.name = location.name;
    this.client = createS3Client(options, location);
    this.#root = location.root;
    this.#random = options.random;
    this.#pageSize = options.pageSize ?? 1000;
    this.#quotedIfMatch = options.quotedIfMatch ?? true;
    this.#options = options;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    checkKey(key);
    checkRange(options.range);
    const { range, signal } = options;
    // HTTP has no empty range.
    if (range !== undefined && range.start === range.end)
      return await this.#getNothing(key, signal);
    const answer = await this.client.send({
      doing: `cannot read ${key}`,
      method: "GET",
      key: this.#root + key,
      headers: range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` },
      accept: [404, 416],
      signal,
    });
    if (answer.status === 404) return this.#notFound(`cannot read ${key}`, answer);
    if (answer.status === 416) return await this.#getNothing(key, signal);
    const etag = etagOf(answer.headers);
    if (range === undefined) return { key, size: answer.body.length, etag, body: answer.body };
    const total = /\/(\d+)$/.exec(answer.headers.get("content-range") ?? "")?.[1];
    if (answer.status === 206 && total !== undefined) {
      return { key, size: Number(total), etag, body: answer.body };
    }
    // A server without ranges sends all of it.
    const body = answer.body.slice(range.start, range.end);
    return { key, size: answer.body.length, etag, body };
  }

  async head(key: string, options: { signal?: AbortSignal } = {}): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return (await this.#headWhole(this.#root + key, options.signal))?.info;
  }

  async put(
    key: string,
    body: Uint8Array | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<ObjectInfo> {
    checkKey(key);
    checkPut(body, options);
    options.signal?.throwIfAborted();
    const parts = splitBody(body, options.signal);
    try {
      const first = await parts.next();
      const second = first.done ? first : await parts.next();
      if (first.done || second.done) {
        return await this.putSmall(this.#root + key, first.value ?? new Uint8Array(), options);
      }
      return await this.#putLarge(key, [first.value, second.value], parts, options);
    } finally {
      await parts.return(undefined);
    }
  }

  async #putLarge(
    key: string,
    first: readonly Uint8Array[],
    rest: AsyncIterable<Uint8Array>,
    options: PutOptions,
  ): Promise<ObjectInfo> {
    const nonce = this.#nonce();
    const uploaded = await uploadInParts({
      client: this.client,
      key: this.#root + key,
      first,
      rest,
      headers: { ...contentType(options), [nonceHeader]: nonce },
      readBack: async () => {
        const current = await this.#headWhole(this.#root + key);
        return current?.nonce === nonce ? current.info.etag : undefined;
      },
      logger: this.#options.logger,
      signal: options.signal,
    });
    return { key, ...uploaded };
  }

  async putSmall(key: string, body: Uint8Array, options: PutOptions): Promise<ObjectInfo> {
    const { ifAbsent = false, ifMatch, signal } = options;
    const isConditional = ifAbsent || ifMatch !== undefined;
    const nonce = isConditional ? this.#nonce() : undefined;
    const doing = `cannot write ${this.#short(key)}`;
    const answer = await this.client.send({
      doing,
      method: "PUT",
      key,
      body,
      headers: {
        ...contentType(options),
        ...(nonce === undefined ? {} : { [nonceHeader]: nonce }),
        ...(ifAbsent ? { "if-none-match": "*" } : {}),
        ...(ifMatch === undefined
          ? {}
          : { "if-match": this.#quotedIfMatch ? `"${ifMatch}"` : ifMatch }),
      },
      accept: isConditional ? [404, 412] : [],
      signal,
    });
    if (answer.status < 300) {
      return { key: this.#short(key), size: body.length, etag: etagOf(answer.headers) };
    }
    // AWS answers 404 NoSuchKey to If-Match on an object that is not there.
    if (answer.status === 404 && (ifMatch === undefined || answer.code !== "NoSuchKey")) {
      throw s3Error(this.client.location, doing, answer, answer.maybeRepeated);
    }
    return await this.#resolveRefusal(key, body, nonce ?? "", options, answer);
  }

  async *list(options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const { prefix = "", after, signal } = options;
    signal?.throwIfAborted();
    const pages = listPages(this.client, {
      prefix: this.#root + prefix,
      after: after === undefined ? undefined : this.#root + after,
      pageSize: this.#pageSize,
      signal,
    });
    for await (const page of pages) {
      for (const info of page) {
        signal?.throwIfAborted();
        const key = this.#short(info.key);
        // Others may keep what no key can name, such as the folder marks of some browsers.
        if (isKey(key)) yield { ...info, key };
      }
    }
  }

  async delete(key: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    checkKey(key);
    await this.deleteWhole(this.#root + key, options.signal);
  }

  async deleteWhole(key: string, signal?: AbortSignal): Promise<void> {
    const doing = `cannot delete ${this.#short(key)}`;
    const answer = await this.client.send({ doing, method: "DELETE", key, accept: [404], signal });
    if (answer.status === 404) this.#notFound(doing, answer);
  }

  async close(): Promise<void> {
    this.client.close();
  }

  /**
   * A refused condition after an attempt that got no answer: that attempt may be what made the
   * condition fail. The object then carries this call's nonce.
   */
  async #resolveRefusal(
    key: string,
    body: Uint8Array,
    nonce: string,
    options: PutOptions,
    answer: S3Answer,
  ): Promise<ObjectInfo> {
    const short = this.#short(key);
    if (!answer.maybeRepeated) throw preconditionFailed(this.name, short, options, undefined);
    const current = await this.#headWhole(key, options.signal).catch((error: unknown) => {
      throw MillraceError.is(error)
        ? new MillraceError(error.code, error.message, { maybeApplied: true, cause: error })
        : error;
    });
    if (current?.nonce === nonce) {
      return { key: short, size: body.length, etag: current.info.etag };
    }
    throw preconditionFailed(this.name, short, options, current?.info.etag, true);
  }

  async #headWhole(
    key: string,
    signal?: AbortSignal,
  ): Promise<{ info: ObjectInfo; nonce: string | null } | undefined> {
    const doing = `cannot look at ${this.#short(key)}`;
    const answer = await this.client.send({ doing, method: "HEAD", key, accept: [404], signal });
    if (answer.status === 404) return undefined;
    const size = Number(answer.headers.get("content-length") ?? 0);
    return {
      info: { key: this.#short(key), size, etag: etagOf(answer.headers) },
      nonce: answer.headers.get(nonceHeader),
    };
  }

  async #getNothing(
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<StoredObject | undefined> {
    const info = (await this.#headWhole(this.#root + key, signal))?.info;
    return info === undefined ? undefined : { ...info, body: new Uint8Array() };
  }

  /** Nothing under a key is an answer; a bucket that is not there is an error. */
  #notFound(doing: string, answer: S3Answer): undefined {
    if (answer.code === "NoSuchBucket") {
      throw s3Error(this.client.location, doing, answer, false);
    }
    return undefined;
  }

  #short(key: string): string {
    return key.slice(this.#root.length);
  }

  #nonce(): string {
    return toHex(this.#random.bytes(16));
  }
}

/** The folder of the probe's objects, behind the store's prefix. */
export const probeFolder: string = `${reservedPrefix}-probe`;

function contentType(options: PutOptions): Record<string, string> {
  return { "content-type": options.contentType ?? "application/octet-stream" };
}
