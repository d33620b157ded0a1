import { type Clock, delay, MillraceError } from "@millrace/types";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { describe, expect, test } from "vitest";
import {
  createMemoryObjectStore,
  createObjectMetaStore,
  type MetaStore,
  type ObjectStore,
} from "../src/mod.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string => new TextDecoder().decode(data);
const away = new MillraceError("UNAVAILABLE", "the store is away");

/** A store whose next puts may lose their answers, be late, hang or fail. */
function createFlakyStore(objects: ObjectStore, clock: Clock) {
  const flaky = {
    ...objects,
    loseAnswers: 0,
    /** How many of the next reads fail. */
    readsFail: 0,
    delayMs: 0,
    hangs: false,
    away: false,
    async get(...args: Parameters<ObjectStore["get"]>) {
      if (flaky.readsFail === 0) return await objects.get(...args);
      flaky.readsFail -= 1;
      throw away;
    },
    async put(...args: Parameters<ObjectStore["put"]>) {
      if (flaky.away) throw away;
      if (flaky.hangs) await untilAborted(args[2]?.signal);
      if (flaky.delayMs > 0) await delay(clock, flaky.delayMs);
      const info = await objects.put(...args);
      if (flaky.loseAnswers === 0) return info;
      flaky.loseAnswers -= 1;
      throw new MillraceError("UNAVAILABLE", "no answer", { maybeApplied: true });
    },
    list(...args: Parameters<ObjectStore["list"]>) {
      if (flaky.away) throw away;
      return objects.list(...args);
    },
  };
  return flaky;
}

async function untilAborted(signal: AbortSignal | undefined): Promise<never> {
  return await new Promise((_resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function setup() {
  const clock = createVirtualClock();
  const objects = createMemoryObjectStore();
  const flaky = createFlakyStore(objects, clock);
  let seed = 0;
  const open = (store: ObjectStore = objects): MetaStore => {
    seed += 1;
    const random = createSeededRandom(seed);
    return createObjectMetaStore(store, { prefix: "meta", clock, random, pollMs: 500 });
  };
  return { clock, objects, flaky, open };
}

describe("a lease on objects", () => {
  test("holds as long as it is renewed, whatever the wall clock does", async () => {
    const { clock, open } = setup();
    const [a, b] = [open(), open()];
    const lease = await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    for (let i = 0; i < 20; i++) {
      clock.jump(i % 2 ? 3_600_000 : -3_600_000);
      await clock.advance(1000);
      expect(await b.lease("leader", { value: bytes("b"), ttlMs: 3000 })).toBeUndefined();
    }
    expect(lease?.signal.aborted).toBe(false);
    await Promise.all([a.close(), b.close()]);
    expect(clock.pending).toBe(0);
  });

  test("passes on when its holder dies, not before its time is over", async () => {
    const { clock, open, flaky } = setup();
    const [a, b] = [open(flaky), open()];
    const lease = await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    flaky.away = true;
    const ask = () => b.lease("leader", { value: bytes("b"), ttlMs: 3000 });
    expect(await ask()).toBeUndefined();
    await clock.advance(2500);
    expect(lease?.signal.aborted).toBe(false);
    expect(await ask()).toBeUndefined();
    await clock.advance(400);
    // The holder gives up before anyone else may think that it has.
    expect(lease?.signal.aborted).toBe(true);
    expect(await ask()).toBeUndefined();
    await clock.advance(100);
    expect(await ask()).toBeDefined();
    expect(text((await b.get("leader"))?.value)).toBe("b");
    await Promise.all([a.close(), b.close()]);
    expect(clock.pending).toBe(0);
  });

  test("is known to be over by a holder that stood still, before any timer says so", async () => {
    const { clock, objects } = setup();
    let stoodStill = 0;
    const late: Clock = { ...clock, monotonic: () => clock.monotonic() + stoodStill };
    const store = createObjectMetaStore(objects, {
      ...{ prefix: "meta", clock: late, random: createSeededRandom(1) },
    });
    const lease = await store.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    stoodStill = 2600;
    expect(lease?.isHeld()).toBe(true);
    stoodStill = 2800;
    expect(lease?.signal.aborted).toBe(false);
    expect(lease?.isHeld()).toBe(false);
    await store.close();
  });

  test("is counted from when the last renewal was first seen", async () => {
    const { clock, open, flaky } = setup();
    const [a, b] = [open(flaky), open()];
    await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    flaky.away = true;
    await clock.advance(60_000);
    const ask = () => b.lease("leader", { value: bytes("b"), ttlMs: 3000 });
    expect(await ask()).toBeUndefined();
    await clock.advance(2999);
    expect(await ask()).toBeUndefined();
    await clock.advance(1);
    expect(await ask()).toBeDefined();
    await Promise.all([a.close(), b.close()]);
  });

  test("is lost at the next renewal when another writes over it", async () => {
    const { clock, open } = setup();
    const [a, b] = [open(), open()];
    const lease = await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    await b.put("leader", bytes("b"));
    await clock.advance(1000);
    expect(lease?.signal.aborted).toBe(true);
    await lease?.release();
    expect(text((await b.get("leader"))?.value)).toBe("b");
    await Promise.all([a.close(), b.close()]);
  });

  test("outlives renewals whose outcome stays unknown", async () => {
    const { clock, open, flaky } = setup();
    const a = open(flaky);
    const lease = await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    for (let i = 0; i < 10; i++) {
      flaky.loseAnswers = 1;
      flaky.readsFail = 1;
      await clock.advance(1000);
    }
    expect(flaky.readsFail).toBe(0);
    expect(lease?.signal.aborted).toBe(false);
    await a.close();
    expect(clock.pending).toBe(0);
  });

  test("is lost in time while a request hangs, and closing does not wait for that", async () => {
    const { clock, open, flaky } = setup();
    const a = open(flaky);
    const lease = await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    flaky.hangs = true;
    await clock.advance(2699);
    expect(lease?.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(lease?.signal.aborted).toBe(true);
    await a.close();
    expect(clock.pending).toBe(0);
  });

  test("that took longer to take than it holds is not given out", async () => {
    const { clock, open, flaky } = setup();
    const a = open(flaky);
    flaky.delayMs = 3000;
    const taking = a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    const refused = expect(taking).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await clock.advance(3000);
    await refused;
    await a.close();
    expect(clock.pending).toBe(0);
  });

  test("outlives answers that are lost", async () => {
    const { clock, open, flaky } = setup();
    const a = open(flaky);
    flaky.loseAnswers = 1;
    const lease = await a.lease("leader", { value: bytes("a"), ttlMs: 3000 });
    for (let i = 0; i < 10; i++) {
      flaky.loseAnswers = 1;
      await clock.advance(1000);
    }
    expect(flaky.loseAnswers).toBe(0);
    expect(lease?.signal.aborted).toBe(false);
    await lease?.release();
    expect(await a.get("leader")).toBeUndefined();
    await a.close();
  });
});

describe("writes whose answer is lost", () => {
  test("are answered for by what is there", async () => {
    const { open, flaky } = setup();
    const meta = open(flaky);
    flaky.loseAnswers = 1;
    const first = await meta.put("key", bytes("1"), { expected: null });
    flaky.loseAnswers = 1;
    const second = await meta.put("key", bytes("2"), { expected: first });
    expect(await meta.get("key")).toMatchObject({ value: bytes("2"), revision: second });
    flaky.loseAnswers = 1;
    await meta.delete("key", { expected: second });
    expect(await meta.get("key")).toBeUndefined();
    await meta.close();
  });
});

describe("a watch on objects", () => {
  test("misses nothing that follows a list, and goes on after the store was away", async () => {
    const { clock, open, flaky, objects } = setup();
    const [a, b] = [open(), open(flaky)];
    await a.put("w/old", bytes("1"));
    const stop = new AbortController();
    const state = new Map<string, string>();
    const watch = b.watch("w/", { signal: stop.signal });
    for (const { key, value } of await b.list("w/")) state.set(key, text(value));
    const following = (async () => {
      for await (const event of watch) {
        if (event.type === "put") state.set(event.entry.key, text(event.entry.value));
        else state.delete(event.key);
      }
    })();
    await a.delete("w/old");
    await a.put("w/new", bytes("2"));
    await clock.advance(500);
    expect([...state]).toEqual([["w/new", "2"]]);
    flaky.away = true;
    await clock.advance(5000);
    const revision = await a.put("w/new", bytes("3"));
    await a.put("w/second", bytes("4"));
    await a.delete("w/new", { expected: revision });
    flaky.away = false;
    await clock.advance(500);
    expect([...state]).toEqual([["w/second", "4"]]);
    stop.abort();
    await following;
    expect(clock.pending).toBe(0);
    await Promise.all([a.close(), b.close(), objects.close()]);
  });

  test("that cannot begin fails, so that nothing is missed between it and a list", async () => {
    const { open, flaky } = setup();
    const meta = open(flaky);
    flaky.away = true;
    const watch = meta.watch("w/", { signal: new AbortController().signal });
    const next = watch[Symbol.asyncIterator]().next();
    await expect(next).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await meta.close();
  });

  test("fails when what it finds is damaged", async () => {
    const { open, objects } = setup();
    await objects.put("meta/w/bad.meta", bytes("not a record of this store"));
    const meta = open();
    const watch = meta.watch("w/", { signal: new AbortController().signal });
    const next = watch[Symbol.asyncIterator]().next();
    await expect(next).rejects.toMatchObject({ code: "DATA_LOSS" });
    await expect(meta.get("w/bad")).rejects.toMatchObject({ code: "DATA_LOSS" });
    await meta.close();
  });
});
