import { createMemoryMetaStore, type MetaEntry, type MetaStore } from "@millrace/storage";
import { type Clock, MillraceError, type Random, silentLogger } from "@millrace/types";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeValue, fenceMeta } from "../src/fence.ts";
import { takeLead } from "../src/leadership.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

/** Lets one of those that wait go on at a time, in an order that a seed says. */
function createTurns(random: Random) {
  const waiting: (() => void)[] = [];
  return {
    turn: () => new Promise<void>((resolve) => waiting.push(resolve)),
    async runAll(): Promise<void> {
      for (;;) {
        for (let i = 0; i < 30; i++) await undefined;
        const [next] = waiting.splice(Math.floor(random.next() * waiting.length), 1);
        if (!next) return;
        next();
      }
    },
  };
}

/**
 * What a coordinator sees of the store, which may stand still before and after each operation. Its leases
 * are worth nothing: whoever asks has one, so that it is all on the fence.
 */
function slowView(meta: MetaStore, turn: () => Promise<void>): MetaStore {
  const slow = async <T>(operation: () => Promise<T>): Promise<T> => {
    await turn();
    try {
      return await operation();
    } finally {
      await turn();
    }
  };
  const lease = new AbortController();
  return {
    ...meta,
    name: meta.name,
    get: (...args) => slow(() => meta.get(...args)),
    list: (...args) => slow(() => meta.list(...args)),
    put: (...args) => slow(() => meta.put(...args)),
    delete: (...args) => slow(() => meta.delete(...args)),
    lease: async () => ({
      signal: lease.signal,
      isHeld: () => true,
      release: () => Promise.resolve(),
    }),
  };
}

interface Led {
  epoch: number;
  /** What it knows to be saved: what it found, and what it wrote since and was told of. */
  known: Map<string, MetaEntry>;
  /** What it has tried to write, or to delete (""), by key. */
  tried: Map<string, Set<string>>;
}

const prefix = "coord/test/";
const keys = ["a", "b", "c"].map((name) => prefix + name);

function createRace(seed: number) {
  const random = createSeededRandom(seed);
  const meta = createMemoryMetaStore();
  const { turn, runAll } = createTurns(random);
  const leads: Led[] = [];
  const clock: Clock = { ...createVirtualClock(), schedule: (_ms, call) => later(call) };
  const later = (call: () => void): (() => void) => {
    let cancelled = false;
    void turn().then(() => cancelled || call());
    return () => {
      cancelled = true;
    };
  };

  /** The lead before has lost nothing that it was told is saved, and nothing else has appeared. */
  const checkFound = (led: Led): void => {
    const before = leads.filter(({ epoch }) => epoch < led.epoch).at(-1);
    if (!before) return;
    for (const key of keys) {
      const [found, known] = [led.known.get(key), before.known.get(key)].map((entry) =>
        entry ? text(entry.value) : "",
      );
      if (found !== known) expect([...(before.tried.get(key) ?? [])], key).toContain(found);
    }
  };

  const step = async (led: Led, view: MetaStore): Promise<void> => {
    const key = keys[Math.floor(random.next() * keys.length)] ?? "";
    const known = led.known.get(key);
    const choice = random.next();
    if (choice < 0.2) {
      const seen = await view.list(prefix);
      if ((leads.at(-1)?.epoch ?? 0) > led.epoch) return;
      const pairs = (entries: Iterable<MetaEntry>) =>
        [...entries].map((entry) => `${entry.key} ${text(entry.value)}`).sort();
      expect(pairs(seen)).toEqual(pairs(led.known.values()));
      return;
    }
    const deletes = known !== undefined && choice < 0.5;
    const value = deletes ? "" : `${led.epoch}:${random.next()}`;
    led.tried.set(key, (led.tried.get(key) ?? new Set()).add(value));
    if (deletes) {
      await view.delete(key, { expected: known.revision });
      led.known.delete(key);
    } else {
      const expected = known?.revision ?? null;
      const revision = await view.put(key, bytes(value), { expected });
      led.known.set(key, { key, value: bytes(value), revision });
    }
    led.tried.delete(key);
  };

  /** A coordinator that leads once. */
  const coordinate = async (steps: number): Promise<void> => {
    const lead = await takeLead({
      meta: slowView(meta, turn),
      address: "",
      leaseMs: 1000,
      exclusive: false,
      onStandby: () => undefined,
      clock,
      logger: silentLogger,
      signal: new AbortController().signal,
    });
    const entries = await lead.meta.list(prefix);
    const known = new Map(entries.map((entry) => [entry.key, entry]));
    const led: Led = { epoch: lead.epoch, known, tried: new Map() };
    checkFound(led);
    leads.push(led);
    leads.sort((a, b) => a.epoch - b.epoch);
    for (let i = 0; i < steps; i++) await step(led, lead.meta);
  };

  return { coordinate, runAll, turn, leads };
}

test("whoever stands still where: what a lead was told is saved is there for the next, and nobody changes what that one has found", async () => {
  let most = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer({ min: 2, max: 4 }), async (seed, coordinators) => {
      const race = createRace(seed);
      const start = async (index: number): Promise<void> => {
        for (let wait = 0; wait < index * 40; wait++) await race.turn();
        try {
          await race.coordinate(30);
        } catch (error) {
          // It was deposed.
          if (!MillraceError.is(error, "UNAVAILABLE")) throw error;
        }
      };
      const all = Promise.all(Array.from({ length: coordinators }, (_, index) => start(index)));
      await Promise.all([race.runAll(), all]);
      most = Math.max(most, race.leads.length);
    }),
    { numRuns: 300 },
  );
  expect(most).toBeGreaterThan(2);
});

test("a value that does not say who wrote it is damaged", async () => {
  const meta = createMemoryMetaStore();
  const fenced = fenceMeta(meta, {
    epoch: 3,
    since: 2,
    isCurrent: async () => true,
    onDeposed: () => undefined,
  });
  for (const bad of ["", "5", "x\n5", "\n", "-1\n"]) {
    await meta.put("coord/a", bytes(bad));
    await expect(fenced.get("coord/a")).rejects.toMatchObject({ code: "DATA_LOSS" });
    await expect(fenced.list("coord/")).rejects.toThrow("coord/a");
  }
  await meta.put("coord/a", encodeValue(2, bytes("1\n2")));
  expect(text((await fenced.get("coord/a"))?.value ?? bytes("?"))).toBe("1\n2");
});

test("keys that are fenced otherwise pass as they are", async () => {
  const meta = createMemoryMetaStore();
  const fenced = fenceMeta(meta, {
    ...{ epoch: 3, since: 3, except: ["coord/own/"] },
    isCurrent: async () => true,
    onDeposed: () => undefined,
  });
  const expected = await fenced.put("coord/own/a", bytes("1"), { expected: null });
  expect(text((await meta.get("coord/own/a"))?.value ?? bytes("?"))).toBe("1");
  expect((await fenced.list("coord/")).map(({ value }) => text(value))).toEqual(["1"]);
  await fenced.delete("coord/own/a", { expected });
  expect(await fenced.get("coord/own/a")).toBeUndefined();
});

test("what a later lead has written deposes at the first look, and what does not count is absent", async () => {
  const meta = createMemoryMetaStore();
  const reasons: unknown[] = [];
  const fenced = fenceMeta(meta, {
    epoch: 3,
    since: 2,
    isCurrent: async () => true,
    onDeposed: (error) => reasons.push(error),
  });
  await meta.put("coord/late", encodeValue(1, bytes("late")));
  expect(await fenced.get("coord/late")).toBeUndefined();
  expect(await fenced.list("coord/")).toEqual([]);
  const revision = await fenced.put("coord/late", bytes("mine"), { expected: null });
  expect((await fenced.get("coord/late"))?.revision).toBe(revision);
  await expect(fenced.put("coord/late", bytes("again"), { expected: null })).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
  });
  await meta.put("coord/new", encodeValue(4, bytes("new")));
  await expect(fenced.get("coord/new")).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const write = fenced.put("coord/late", bytes("mine"), { expected: revision });
  await expect(write).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: false });
  expect(reasons.length).toBe(1);
});
