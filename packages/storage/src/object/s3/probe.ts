/**
 * Opening a bucket: does the server honour what Millrace relies on?
 *
 * Servers ignore headers that they do not know. One that ignores `If-None-Match` answers every racing
 * writer with success, and acknowledged data is overwritten; so each condition is tried on objects of
 * the probe's own before the store is used.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { ObjectStore, PutOptions } from "../../object-store.ts";
import { toHex } from "./client.ts";
import type { S3ObjectStoreOptions } from "./options.ts";
import { createS3Store, probeFolder, type S3Store } from "./store.ts";

const racers = 8;

/**
 * Opens a bucket as an ObjectStore after a probe of about ten small requests, which leaves nothing
 * behind.
 *
 * Throws `UNIMPLEMENTED` for a server that does not honour conditional writes, `NOT_FOUND` for a
 * bucket that does not exist, `UNAUTHENTICATED` or `PERMISSION_DENIED` for keys that are not accepted
 * or not enough, `UNAVAILABLE` (retryable) for a server that does not answer.
 *
 * @example
 * ```ts
 * const store = await openS3ObjectStore({
 *   bucket: "warehouse",
 *   endpoint: "http://127.0.0.1:8000",
 *   credentials: { accessKeyId: "key", secretAccessKey: "secret" },
 *   clock: systemClock,
 *   random: systemRandom,
 * });
 * ```
 */
export async function openS3ObjectStore(options: S3ObjectStoreOptions): Promise<ObjectStore> {
  const quoted = createS3Store({ ...options, quotedIfMatch: true });
  const bare = createS3Store({ ...options, quotedIfMatch: false });
  let found: S3Store | undefined;
  try {
    const root = quoted.client.location.root;
    const folder = `${root}${probeFolder}/${toHex(options.random.bytes(8))}`;
    await probeCreate(quoted, `${folder}-create`);
    await probeRace(quoted, `${folder}-race`);
    found = await probeReplace([quoted, bare], `${folder}-replace`);
    return found;
  } finally {
    for (const store of [quoted, bare]) if (store !== found) await store.close();
  }
}

async function probeCreate(store: S3Store, key: string): Promise<void> {
  await withProbe(store, key, async () => {
    if (!(await applies(store, key, "first", { ifAbsent: true }))) {
      throw unsafe(store, "it refuses to create an object with If-None-Match: *");
    }
    if (await applies(store, key, "second", { ifAbsent: true })) {
      throw unsafe(store, "it ignores If-None-Match: * and overwrites what is there");
    }
  });
}

async function probeRace(store: S3Store, key: string): Promise<void> {
  await withProbe(store, key, async () => {
    const writers = Array.from({ length: racers }, (_, i) => `racer ${i}`);
    const results = await Promise.all(
      writers.map((body) => applies(store, key, body, { ifAbsent: true })),
    );
    const winners = results.filter((won) => won).length;
    if (winners !== 1) {
      throw unsafe(store, `of ${racers} writers that race to create an object ${winners} succeed`);
    }
  });
}

/** The first of the stores whose way of writing `If-Match` the server understands. */
async function probeReplace(stores: readonly S3Store[], key: string): Promise<S3Store> {
  const [first] = stores;
  if (first === undefined) throw new MillraceError("INNER", "no store to probe");
  return await withProbe(first, key, async () => {
    let { etag } = await first.putSmall(key, bytes("start"), {});
    for (const store of stores) {
      const stale = "0123456789abcdef0123456789abcdef";
      if (await applies(store, key, "stale", { ifMatch: stale })) {
        throw unsafe(store, "it ignores If-Match and overwrites what has another etag");
      }
      if (await applies(store, key, "right", { ifMatch: etag })) return store;
      etag = (await first.putSmall(key, bytes("again"), {})).etag;
    }
    throw unsafe(first, "it refuses If-Match also with the right etag");
  });
}

/** Runs a probe and removes its object. */
async function withProbe<T>(store: S3Store, key: string, probe: () => Promise<T>): Promise<T> {
  try {
    const result = await probe();
    await store.deleteWhole(key);
    return result;
  } catch (error) {
    // Of a server that cannot be reached or lets nobody in there is nothing to remove.
    if (MillraceError.is(error, "UNIMPLEMENTED")) await store.deleteWhole(key);
    throw error;
  }
}

async function applies(
  store: S3Store,
  key: string,
  body: string,
  options: PutOptions,
): Promise<boolean> {
  try {
    await store.putSmall(key, bytes(body), options);
    return true;
  } catch (error) {
    if (MillraceError.is(error, "PRECONDITION_FAILED")) return false;
    if (MillraceError.is(error, "UNIMPLEMENTED")) throw unsafe(store, "it has none", error);
    throw error;
  }
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function unsafe(store: S3Store, finding: string, cause?: unknown): MillraceError {
  const { bucket, host } = store.client.location;
  return new MillraceError(
    "UNIMPLEMENTED",
    `bucket ${bucket} at ${host} is not safe to use: the store does not honour conditional writes (${finding}); use one that does, such as AWS S3, Cloudflare R2, MinIO or Ceph`,
    cause === undefined ? {} : { cause },
  );
}
