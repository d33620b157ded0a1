/**
 * What every MetaStore must do.
 *
 * @module
 */

import { describe, expect, test } from "vitest";
import type { MetaEvent, MetaStore } from "../meta-store.ts";

/** A fresh, empty store for one test. */
export interface MetaStoreFixture {
  store: MetaStore;
  /** Another client of the same entries, for races between two. Default: the store itself. */
  other?: MetaStore;
  /** Ends what `open` began. */
  close(): Promise<void>;
}

/** Options of {@linkcode describeMetaStore}. */
export interface MetaStoreSuite {
  open(): Promise<MetaStoreFixture>;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string | undefined =>
  data === undefined ? undefined : new TextDecoder().decode(data);

type StoreTest = (
  title: string,
  run: (fixture: Required<MetaStoreFixture>) => Promise<void>,
) => void;

/** Declares the tests of a MetaStore; call it in a test file of Vitest. */
export function describeMetaStore(name: string, suite: MetaStoreSuite): void {
  const storeTest: StoreTest = (title, run) =>
    test(title, async () => {
      const fixture = await suite.open();
      try {
        await run({ other: fixture.store, ...fixture });
      } finally {
        await fixture.close();
      }
    });

  describe(`${name} as a MetaStore`, () => {
    describeEntries(storeTest);
    describeExpectations(storeTest);
    describeWatches(storeTest);
    describeLeases(storeTest);
  });
}

function describeEntries(storeTest: StoreTest): void {
  storeTest("gives back what was put", async ({ store, other }) => {
    expect(await store.get("key")).toBeUndefined();
    const revision = await store.put("key", bytes("value"));
    expect(await other.get("key")).toEqual({ key: "key", value: bytes("value"), revision });
    await store.put("empty", new Uint8Array());
    expect((await other.get("empty"))?.value).toEqual(new Uint8Array());
    await store.delete("key");
    expect(await other.get("key")).toBeUndefined();
    await store.delete("key");
  });

  storeTest("gives every write a revision of its own", async ({ store }) => {
    const seen = new Set<string>();
    for (let i = 0; i < 5; i++) seen.add(await store.put("key", bytes("same")));
    await store.delete("key");
    seen.add(await store.put("key", bytes("same")));
    expect(seen.size).toBe(6);
  });

  storeTest("lists a prefix in the order of UTF-8 bytes", async ({ store, other }) => {
    for (const key of ["a/\u{1f642}", "a/\uffee", "a/b", "a-b", "a", "a/b/c", "b"]) {
      await store.put(key, bytes(key));
    }
    const listed = await other.list("a/");
    expect(listed.map((entry) => entry.key)).toEqual(["a/b", "a/b/c", "a/\uffee", "a/\u{1f642}"]);
    for (const entry of listed) {
      expect(text(entry.value)).toBe(entry.key);
      expect(entry).toEqual(await store.get(entry.key));
    }
    expect((await store.list("")).map((entry) => entry.key).slice(0, 3)).toEqual([
      "a",
      "a-b",
      "a/b",
    ]);
    expect(await store.list("none")).toEqual([]);
  });

  storeTest("keeps its own copy of the bytes", async ({ store }) => {
    const value = bytes("before");
    await store.put("key", value);
    value.fill(0);
    (await store.get("key"))?.value.fill(0);
    (await store.list("key"))[0]?.value.fill(0);
    expect(text((await store.get("key"))?.value)).toBe("before");
  });

  storeTest("refuses bad keys and large values", async ({ store }) => {
    const invalid = { name: "MillraceError", code: "INVALID_ARGUMENT" };
    for (const key of ["", "/a", "a/", "a//b", "a/../b", "nul\0", "x".repeat(901)]) {
      await expect(store.get(key)).rejects.toMatchObject(invalid);
      await expect(store.put(key, bytes("x"))).rejects.toMatchObject(invalid);
      await expect(store.delete(key)).rejects.toMatchObject(invalid);
      await expect(store.lease(key, { value: bytes("x") })).rejects.toMatchObject(invalid);
    }
    const large = store.put("key", new Uint8Array(1024 * 1024 + 1));
    await expect(large).rejects.toMatchObject(invalid);
    await store.put("key", new Uint8Array(1024 * 1024));
    expect((await store.get("key"))?.value.length).toBe(1024 * 1024);
  });
}

function describeExpectations(storeTest: StoreTest): void {
  storeTest("writes only over the expected revision", async ({ store, other }) => {
    const failed = { name: "MillraceError", code: "PRECONDITION_FAILED" };
    const first = await store.put("key", bytes("1"), { expected: null });
    await expect(other.put("key", bytes("x"), { expected: null })).rejects.toMatchObject(failed);
    const second = await other.put("key", bytes("2"), { expected: first });
    await expect(store.put("key", bytes("x"), { expected: first })).rejects.toMatchObject(failed);
    await expect(store.delete("key", { expected: first })).rejects.toMatchObject(failed);
    await expect(store.delete("key", { expected: null })).rejects.toMatchObject(failed);
    expect(text((await store.get("key"))?.value)).toBe("2");
    await store.delete("key", { expected: second });
    expect(await other.get("key")).toBeUndefined();
    expect(await other.list("")).toEqual([]);
    await expect(store.put("key", bytes("x"), { expected: second })).rejects.toMatchObject(failed);
    await expect(store.delete("key", { expected: second })).rejects.toMatchObject(failed);
    await store.delete("key", { expected: null });
    await store.put("key", bytes("3"), { expected: null });
    expect(text((await other.get("key"))?.value)).toBe("3");
  });

  storeTest("lets one of 20 racing writers win", async ({ store, other }) => {
    const run = async (expected: string | null): Promise<string> => {
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) =>
          (i % 2 ? store : other).put("race", bytes(String(i)), { expected }),
        ),
      );
      const winners = results.flatMap((result, i) => (result.status === "fulfilled" ? [i] : []));
      expect(winners).toHaveLength(1);
      const entry = await store.get("race");
      expect(text(entry?.value)).toBe(String(winners[0]));
      return entry?.revision ?? "";
    };
    const revision = await run(null);
    await run(revision);
  });
}

function describeWatches(storeTest: StoreTest): void {
  storeTest("tells a watcher the latest state of each key", async ({ store, other }) => {
    await using watch = watching(other, "w/");
    await store.put("w/a", bytes("1"));
    await store.put("v/a", bytes("other"));
    const revision = await store.put("w/a", bytes("2"));
    await watch.until((state) => text(state.get("w/a")) === "2");
    await store.delete("w/a", { expected: revision });
    await watch.until((state) => !state.has("w/a"));
    await store.put("w/b", bytes("3"));
    await watch.until((state) => text(state.get("w/b")) === "3");
    expect(watch.keys).not.toContain("v/a");
  });

  storeTest("ends a watch when its signal is aborted", async ({ store }) => {
    const stop = new AbortController();
    const events = store.watch("w/", { signal: stop.signal })[Symbol.asyncIterator]();
    const next = events.next();
    stop.abort();
    expect(await next).toMatchObject({ done: true });
  });
}

function describeLeases(storeTest: StoreTest): void {
  storeTest("gives a lease to one of 20 who ask", async ({ store, other }) => {
    const leases = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        (i % 2 ? store : other).lease("leader", { value: bytes(String(i)) }),
      ),
    );
    const winner = leases.findIndex((lease) => lease !== undefined);
    expect(leases.filter((lease) => lease !== undefined)).toHaveLength(1);
    expect(text((await store.get("leader"))?.value)).toBe(String(winner));
    await leases[winner]?.release();
  });

  storeTest("gives a lease on as soon as it is released", async ({ store, other }) => {
    const first = await store.lease("leader", { value: bytes("first"), ttlMs: 60_000 });
    expect(first?.signal.aborted).toBe(false);
    expect(first?.isHeld()).toBe(true);
    expect(await other.lease("leader", { value: bytes("second") })).toBeUndefined();
    await first?.release();
    expect(first?.signal.aborted).toBe(true);
    expect(first?.isHeld()).toBe(false);
    expect(await store.get("leader")).toBeUndefined();
    const second = await other.lease("leader", { value: bytes("second") });
    expect(second?.signal.aborted).toBe(false);
    await first?.release();
    expect(text((await store.get("leader"))?.value)).toBe("second");
    await second?.release();
  });

  storeTest("tells a holder that its lease is lost when another writes over it", async (stores) => {
    const { store, other } = stores;
    const lease = await store.lease("leader", { value: bytes("first"), ttlMs: 1000 });
    const told = new Promise<unknown>((resolve) => {
      lease?.signal.addEventListener("abort", () => resolve(lease.signal.reason), { once: true });
    });
    await other.put("leader", bytes("second"));
    expect(await told).toMatchObject({ name: "MillraceError", code: "PRECONDITION_FAILED" });
    expect(lease?.isHeld()).toBe(false);
    await lease?.release();
    expect(text((await other.get("leader"))?.value)).toBe("second");
  });

  storeTest("ends a lease when its store is closed", async ({ store }) => {
    const lease = await store.lease("leader", { value: bytes("x") });
    await store.close();
    expect(lease?.signal.aborted).toBe(true);
    await expect(store.get("leader")).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
  });
}

/** Follows a prefix in the background. */
function watching(store: MetaStore, prefix: string) {
  const stop = new AbortController();
  const state = new Map<string, Uint8Array>();
  const keys = new Set<string>();
  let changed: () => void = () => undefined;
  const apply = (event: MetaEvent): void => {
    if (event.type === "put") state.set(event.entry.key, event.entry.value);
    else state.delete(event.key);
    keys.add(event.type === "put" ? event.entry.key : event.key);
    changed();
  };
  const following = async () => {
    for await (const event of events) apply(event);
  };
  const events = store.watch(prefix, { signal: stop.signal });
  const done = following();
  return {
    keys,
    async until(holds: (state: ReadonlyMap<string, Uint8Array>) => boolean): Promise<void> {
      while (!holds(state)) {
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
    },
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await done;
    },
  };
}
