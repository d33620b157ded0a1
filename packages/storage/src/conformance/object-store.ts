/**
 * What every ObjectStore must do.
 *
 * @module
 */

import { describe, expect, test } from "vitest";
import type { ObjectInfo, ObjectStore } from "../object-store.ts";

/** A fresh, empty store for one test. */
export interface ObjectStoreFixture {
  store: ObjectStore;
  /** Another client of the same objects, for races between two. Default: the store itself. */
  other?: ObjectStore;
  /** Ends what `open` began. */
  close(): Promise<void>;
}

/** Options of {@linkcode describeObjectStore}. */
export interface ObjectStoreSuite {
  open(): Promise<ObjectStoreFixture>;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string | undefined =>
  data === undefined ? undefined : new TextDecoder().decode(data);

const oddKeys = [
  "plain",
  "a/b/c.parquet",
  "tables/t-1/_partition=de fault/part-0.parquet",
  "amp&lt<gt>quot\"apos'",
  "percent%41%2F+plus",
  "hash#query?semi;colon:at@",
  "grüße/日本語/🙂",
  "back\\slash",
  "~tilde*star(paren)!",
  ".hidden/..double/...",
  "x".repeat(255),
  `${"deep/".repeat(170)}end`,
];

const badKeys = [
  "",
  "/leading",
  "trailing/",
  "dou//ble",
  ".",
  "a/../b",
  "../escape",
  "a/.",
  "nul\0",
  "new\nline",
  "\ud800",
  "x".repeat(256),
  `${"y/".repeat(450)}z`,
  ".millrace-tmp/x",
];

/**
 * Declares the tests of an ObjectStore; call it in a test file of Vitest.
 *
 * @example
 * ```ts
 * describeObjectStore("mine", {
 *   open: async () => {
 *     const store = await createMyStore();
 *     return { store, close: () => store.close() };
 *   },
 * });
 * ```
 */
export function describeObjectStore(name: string, suite: ObjectStoreSuite): void {
  const storeTest: StoreTest = (title, run) =>
    test(title, async () => {
      const fixture = await suite.open();
      try {
        await run({ other: fixture.store, ...fixture });
      } finally {
        await fixture.close();
      }
    });

  describe(`${name} as an ObjectStore`, () => {
    describeReads(storeTest);
    describeConditions(storeTest);
    describeLists(storeTest);
    describeRefusals(storeTest);
  });
}

type StoreTest = (
  title: string,
  run: (fixture: Required<ObjectStoreFixture>) => Promise<void>,
) => void;

function describeReads(storeTest: StoreTest): void {
  storeTest("answers undefined for what is not there", async ({ store }) => {
    expect(await store.get("nothing")).toBeUndefined();
    expect(await store.head("nothing")).toBeUndefined();
    expect(await store.get("nothing/below")).toBeUndefined();
    await store.delete("nothing");
  });

  storeTest("gives back what was put, under every odd key", async ({ store, other }) => {
    for (const key of oddKeys) {
      const info = await store.put(key, bytes(`body of ${key}`));
      expect(info).toEqual({ key, size: bytes(`body of ${key}`).length, etag: info.etag });
      expect(await other.head(key)).toEqual(info);
      const found = await other.get(key);
      expect(found).toMatchObject(info);
      expect(text(found?.body)).toBe(`body of ${key}`);
    }
    const listed = await collect(other);
    expect(listed.map((info) => info.key)).toEqual(inOrder(oddKeys));
    for (const key of oddKeys) await store.delete(key);
    expect(await collect(other)).toEqual([]);
  });

  storeTest("gives the bytes of a range", async ({ store }) => {
    await store.put("digits", bytes("0123456789"));
    const range = async (start: number, end: number) =>
      text((await store.get("digits", { range: { start, end } }))?.body);
    expect(await range(0, 10)).toBe("0123456789");
    expect(await range(3, 5)).toBe("34");
    expect(await range(9, 10)).toBe("9");
    expect(await range(8, 100)).toBe("89");
    expect(await range(10, 12)).toBe("");
    expect(await range(100, 120)).toBe("");
    expect(await range(4, 4)).toBe("");
    const part = await store.get("digits", { range: { start: 2, end: 4 } });
    expect(part).toMatchObject({ size: 10, etag: (await store.head("digits"))?.etag });
    expect(await store.get("nothing", { range: { start: 0, end: 1 } })).toBeUndefined();
  });

  storeTest("keeps an empty body", async ({ store }) => {
    expect(await store.put("empty", new Uint8Array())).toMatchObject({ size: 0 });
    expect((await store.get("empty"))?.body).toEqual(new Uint8Array());
    expect((await store.get("empty", { range: { start: 0, end: 5 } }))?.body.length).toBe(0);
  });

  storeTest("replaces a body whole", async ({ store }) => {
    const first = await store.put("key", bytes("a long first body"));
    const second = await store.put("key", bytes("short"));
    expect(second.etag).not.toBe(first.etag);
    expect(text((await store.get("key"))?.body)).toBe("short");
  });

  storeTest("keeps its own copy of the bytes", async ({ store }) => {
    const body = bytes("before");
    await store.put("key", body);
    body.fill(0);
    (await store.get("key"))?.body.fill(0);
    expect(text((await store.get("key"))?.body)).toBe("before");
  });

  storeTest("takes a large body in chunks and gives it back", async ({ store, other }) => {
    const size = 20 * 1024 * 1024 + 12_345;
    const info = await store.put("large", largeBody(size));
    expect(info.size).toBe(size);
    const found = await other.get("large");
    expect(found?.etag).toBe(info.etag);
    expect(found?.body.length).toBe(size);
    expect(found?.body.every((byte, i) => byte === largeByte(i))).toBe(true);
    const middle = 9 * 1024 * 1024;
    const part = await other.get("large", { range: { start: middle, end: middle + 3 } });
    expect([...(part?.body ?? [])]).toEqual([0, 1, 2].map((i) => largeByte(middle + i)));
  });

  storeTest("takes chunks whose buffer the source uses again", async ({ store }) => {
    const body = async function* (): AsyncGenerator<Uint8Array> {
      const buffer = new Uint8Array(3);
      for (let i = 0; i < 3; i++) yield buffer.fill(i);
    };
    await store.put("key", body());
    expect((await store.get("key"))?.body).toEqual(Uint8Array.of(0, 0, 0, 1, 1, 1, 2, 2, 2));
  });

  storeTest("writes nothing when the body fails", async ({ store }) => {
    await store.put("key", bytes("old"));
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(9 * 1024 * 1024);
      throw new Error("the source broke");
    };
    await expect(store.put("key", broken())).rejects.toThrow("the source broke");
    await expect(store.put("fresh", broken())).rejects.toThrow("the source broke");
    expect(text((await store.get("key"))?.body)).toBe("old");
    expect((await collect(store)).map((info) => info.key)).toEqual(["key"]);
  });
}

function describeConditions(storeTest: StoreTest): void {
  storeTest("creates with ifAbsent only what is not there", async ({ store, other }) => {
    const info = await store.put("key", bytes("first"), { ifAbsent: true });
    await expect(other.put("key", bytes("second"), { ifAbsent: true })).rejects.toMatchObject({
      name: "MillraceError",
      code: "PRECONDITION_FAILED",
      maybeApplied: false,
    });
    expect(await store.get("key")).toEqual({ ...info, body: bytes("first") });
    await store.delete("key");
    await other.put("key", bytes("third"), { ifAbsent: true });
  });

  storeTest("replaces with ifMatch only what has the etag", async ({ store, other }) => {
    const first = await store.put("key", bytes("first"));
    const second = await other.put("key", bytes("second"), { ifMatch: first.etag });
    const stale = store.put("key", bytes("third"), { ifMatch: first.etag });
    await expect(stale).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(await other.get("key")).toEqual({ ...second, body: bytes("second") });
    const listed = await collect(store);
    await store.put("key", bytes("fourth"), { ifMatch: listed[0]?.etag ?? "" });
  });

  storeTest("refuses ifMatch on what is not there", async ({ store }) => {
    const { etag } = await store.put("key", bytes("x"));
    await store.delete("key");
    const put = store.put("key", bytes("y"), { ifMatch: etag });
    await expect(put).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(await store.get("key")).toBeUndefined();
  });

  storeTest("lets one of 20 racing ifAbsent puts win", async ({ store, other }) => {
    for (let round = 0; round < 3; round++) {
      const key = `race/${round}`;
      const winner = await race(20, (i) =>
        (i % 2 ? store : other).put(key, bytes(`writer ${i}`), { ifAbsent: true }),
      );
      expect(text((await store.get(key))?.body)).toBe(`writer ${winner}`);
    }
  });

  storeTest(
    "lets one of 20 racing ifAbsent puts of the same bytes win",
    async ({ store, other }) => {
      await race(20, (i) => (i % 2 ? store : other).put("same", bytes("same"), { ifAbsent: true }));
    },
  );

  storeTest("lets one of 20 racing ifMatch puts win", async ({ store, other }) => {
    let { etag } = await store.put("race", bytes("start"));
    for (let round = 0; round < 3; round++) {
      const expected = etag;
      const winner = await race(20, (i) =>
        (i % 2 ? store : other).put("race", bytes(`${round}: writer ${i}`), { ifMatch: expected }),
      );
      const found = await store.get("race");
      expect(text(found?.body)).toBe(`${round}: writer ${winner}`);
      etag = found?.etag ?? "";
    }
  });

  storeTest("loses no update of a counter by compare-and-set", async ({ store, other }) => {
    await store.put("counter", bytes("0"));
    const add = async (client: ObjectStore): Promise<void> => {
      for (;;) {
        const found = await client.get("counter");
        const next = bytes(String(Number(text(found?.body)) + 1));
        try {
          await client.put("counter", next, { ifMatch: found?.etag ?? "" });
          return;
        } catch (error) {
          expect(error).toMatchObject({ code: "PRECONDITION_FAILED" });
        }
      }
    };
    await Promise.all([add(store), add(other), add(store), add(other), add(store)]);
    expect(text((await store.get("counter"))?.body)).toBe("5");
  });
}

function describeLists(storeTest: StoreTest): void {
  storeTest("lists in the order of UTF-8 bytes", async ({ store }) => {
    const keys = [
      "b",
      "a/b",
      "a-b",
      "a",
      "a0",
      "ä",
      "\uffee",
      "\u{1f642}",
      "Z",
      "a b/c",
      "~",
    ].filter((key) => key !== "a");
    for (const key of keys) await store.put(key, bytes(key));
    const listed = await collect(store);
    expect(listed.map((info) => info.key)).toEqual(inOrder(keys));
    for (const info of listed) expect(await store.head(info.key)).toEqual(info);
  });

  storeTest("lists a prefix, also one that ends within a segment", async ({ store }) => {
    for (const key of ["log/1", "log/10", "log/2", "logs/1", "lo", "m&m/<1>", "m&m/<2>"]) {
      await store.put(key, bytes("x"));
    }
    const keys = async (prefix: string) =>
      (await collect(store, { prefix })).map((info) => info.key);
    expect(await keys("log/")).toEqual(["log/1", "log/10", "log/2"]);
    expect(await keys("log")).toEqual(["log/1", "log/10", "log/2", "logs/1"]);
    expect(await keys("log/1")).toEqual(["log/1", "log/10"]);
    expect(await keys("m&m/<")).toEqual(["m&m/<1>", "m&m/<2>"]);
    expect(await keys("none")).toEqual([]);
  });

  storeTest("lists behind a key, whether it exists or not", async ({ store }) => {
    for (const key of ["a", "b/1", "b/2", "b-3", "c"]) await store.put(key, bytes("x"));
    const keys = async (after: string, prefix?: string) =>
      (await collect(store, prefix === undefined ? { after } : { after, prefix })).map(
        (info) => info.key,
      );
    expect(await keys("a")).toEqual(["b-3", "b/1", "b/2", "c"]);
    expect(await keys("b/1")).toEqual(["b/2", "c"]);
    expect(await keys("b/15")).toEqual(["b/2", "c"]);
    expect(await keys("b")).toEqual(["b-3", "b/1", "b/2", "c"]);
    expect(await keys("b/1", "b/")).toEqual(["b/2"]);
    expect(await keys("0", "b/")).toEqual(["b/1", "b/2"]);
    expect(await keys("c")).toEqual([]);
  });

  storeTest("stops listing when the caller does", async ({ store }) => {
    for (const key of ["a", "b", "c"]) await store.put(key, bytes(key));
    for await (const info of store.list()) {
      expect(info.key).toBe("a");
      break;
    }
  });
}

function describeRefusals(storeTest: StoreTest): void {
  storeTest("refuses what is not a key, in every call", async ({ store }) => {
    for (const key of badKeys) {
      const calls = [
        store.get(key),
        store.head(key),
        store.put(key, bytes("x")),
        store.put(key, bytes("x"), { ifAbsent: true }),
        store.delete(key),
      ];
      for (const call of calls) {
        await expect(call, JSON.stringify(key)).rejects.toMatchObject({
          name: "MillraceError",
          code: "INVALID_ARGUMENT",
          field: "key",
        });
      }
    }
    expect(await collect(store)).toEqual([]);
  });

  storeTest("refuses conditions and ranges that make no sense", async ({ store }) => {
    const invalid = { code: "INVALID_ARGUMENT" };
    const both = store.put("key", bytes("x"), { ifAbsent: true, ifMatch: "1" });
    await expect(both).rejects.toMatchObject(invalid);
    const large = new Uint8Array(8 * 1024 * 1024 + 1);
    await expect(store.put("key", large, { ifAbsent: true })).rejects.toMatchObject(invalid);
    const streamed = store.put("key", largeBody(10), { ifAbsent: true });
    await expect(streamed).rejects.toMatchObject(invalid);
    for (const range of [
      { start: -1, end: 2 },
      { start: 2, end: 1 },
      { start: 0.5, end: 2 },
      { start: 0, end: Number.NaN },
    ]) {
      await expect(store.get("key", { range })).rejects.toMatchObject(invalid);
    }
  });

  storeTest("heeds a signal that is aborted already", async ({ store }) => {
    const signal = AbortSignal.abort(new Error("no longer wanted"));
    await expect(store.put("key", bytes("x"), { signal })).rejects.toThrow("no longer wanted");
    await expect(store.get("key", { signal })).rejects.toThrow("no longer wanted");
    await expect(store.head("key", { signal })).rejects.toThrow("no longer wanted");
    await expect(store.delete("key", { signal })).rejects.toThrow("no longer wanted");
    await expect(collect(store, { signal })).rejects.toThrow("no longer wanted");
    expect(await store.get("key")).toBeUndefined();
  });

  storeTest("heeds a signal that is aborted while it reads the body", async ({ store }) => {
    const stop = new AbortController();
    const reason = new DOMException("no longer wanted", "AbortError");
    let ended = false;
    const body = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield new Uint8Array(1000);
        stop.abort(reason);
        for (;;) yield new Uint8Array(1000);
      } finally {
        ended = true;
      }
    };
    const put = store.put("key", body(), { signal: stop.signal });
    await expect(put).rejects.toBe(reason);
    expect(ended).toBe(true);
    expect(await store.get("key")).toBeUndefined();
  });
}

async function collect(
  store: ObjectStore,
  options?: Parameters<ObjectStore["list"]>[0],
): Promise<ObjectInfo[]> {
  const infos: ObjectInfo[] = [];
  for await (const info of store.list(options)) infos.push(info);
  return infos;
}

/** Runs all at once; answers the one that won and checks that the others were refused. */
async function race(count: number, run: (index: number) => Promise<unknown>): Promise<number> {
  const results = await Promise.allSettled(Array.from({ length: count }, (_, i) => run(i)));
  const winners = results.flatMap((result, i) => (result.status === "fulfilled" ? [i] : []));
  for (const result of results) {
    if (result.status === "rejected") {
      expect(result.reason).toMatchObject({ code: "PRECONDITION_FAILED" });
    }
  }
  expect(winners).toHaveLength(1);
  return winners[0] ?? -1;
}

/** The order of UTF-8 bytes, found in another way than the stores do. */
function inOrder(keys: readonly string[]): string[] {
  const hex = (key: string): string =>
    [...bytes(key)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [...keys].sort((a, b) => (hex(a) < hex(b) ? -1 : 1));
}

function largeByte(index: number): number {
  return (index * 31 + (index >>> 13)) & 0xff;
}

async function* largeBody(size: number): AsyncGenerator<Uint8Array> {
  const chunk = 777_777;
  for (let start = 0; start < size; start += chunk) {
    const part = new Uint8Array(Math.min(chunk, size - start));
    for (let i = 0; i < part.length; i++) part[i] = largeByte(start + i);
    yield part;
  }
}
