import { createMemoryMetaStore, type MetaStore } from "@millrace/storage";
import { delay, MillraceError, type Random, type Tick } from "@millrace/types";
import { createSeededRandom, createVirtualClock, type VirtualClock } from "@millrace/types/testing";
import {
  type Broadcaster,
  type BroadcasterOptions,
  type BroadcastRequest,
  type BroadcastResult,
  type Callback,
  createBroadcaster,
  type ResourceKey,
  type VchannelAppend,
} from "../src/mod.ts";
import { lockOrder } from "../src/resource-keys.ts";

export const control = "control";
/** A message type whose callback does nothing but count. */
export const change = 5;

interface StoredCopy {
  id: bigint;
  tick: Tick;
}

/** What a broadcast asked for; its copies say it. */
export interface Asked {
  vchannels: readonly string[];
  keys: readonly ResourceKey[];
  /** What it is the only one in; absent: it had no idempotency key. */
  scope?: string;
}

/** Faults that a broadcaster must not survive unnoticed; each stands for a mistake in it. */
export type PlantedFault =
  | "saves the task after the appends"
  | "allocates ids before the locks"
  | "does not lock"
  | "appends without an idempotency key"
  | "does not know a client's idempotency key"
  | "ends before the callback"
  | "runs the callback before the last append"
  | "forgets the task at its end without having run it"
  | "does not look who is the owner";

/** One run of a broadcaster, which can be ended as kill -9 ends a process. */
export interface Run {
  broadcaster: Broadcaster;
  /** Nothing of it has an effect any more. */
  kill(): void;
  /** Kills it when so many more effects have begun or ended. */
  killAfter(boundaries: number): void;
  readonly boundaries: number;
  readonly fenced: boolean;
}

/** Logs, a store and what follows from broadcasts, shared by all runs, with a check of what must hold. */
export interface World {
  clock: VirtualClock;
  random: Random;
  meta: MetaStore;
  /** What stands in each vchannel. */
  logs: Map<string, StoredCopy[]>;
  /** The broadcasts whose callback had its effect, in that order. */
  applied: bigint[];
  /** How often each callback was called. */
  calls: Map<bigint, number>;
  /** What the broadcasts that have a copy asked for, by id. */
  asked: Map<bigint, Asked>;
  /** What was found wrong. */
  violations: string[];
  /** Throws to fail an append, before or after it has its effect. */
  onAppend: (vchannel: string, when: "before" | "after") => void;
  onCallback: (id: bigint) => void;
  start(options?: Partial<BroadcasterOptions>): Promise<Run>;
  request(
    vchannels: readonly string[],
    keys: readonly ResourceKey[],
    more?: Partial<BroadcastRequest>,
  ): BroadcastRequest;
  /** Lets time go on until the promise has settled; fails after ten minutes of it. */
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Looks at what must hold when nothing is under way. */
  checkEnd(): void;
}

export function createWorld(seed = 1, fault?: PlantedFault): World {
  const clock = createVirtualClock();
  const random = createSeededRandom(seed);
  const meta = createMemoryMetaStore({ clock });
  const logs = new Map<string, StoredCopy[]>();
  const applied: bigint[] = [];
  const calls = new Map<bigint, number>();
  const asked: World["asked"] = new Map();
  const violations: string[] = [];
  let ids = 0n;
  let ticks = 1000n;
  let early = 0n;

  const placesOf = (id: bigint): string[] => [control, ...(asked.get(id)?.vchannels ?? [])];
  const has = (vchannel: string, id: bigint): StoredCopy | undefined =>
    logs.get(vchannel)?.find((copy) => copy.id === id);

  const recordOf = async (id: bigint): Promise<string | undefined> => {
    const entry = await meta.get(`broadcast/tasks/${id.toString().padStart(20, "0")}`);
    return entry && new TextDecoder().decode(entry.value);
  };

  const start = async (options: Partial<BroadcasterOptions> = {}): Promise<Run> => {
    let alive = true;
    let left = Number.POSITIVE_INFINITY;
    let boundaries = 0;
    let fenced = false;
    const boundary = (): void => {
      boundaries += 1;
      left -= 1;
      if (left < 0) alive = false;
      if (!alive) throw new MillraceError("UNAVAILABLE", "this process is dead");
    };
    const pause = (): Promise<void> => delay(clock, random.next() * 3);
    const effect = async <T>(act: () => Promise<T> | T): Promise<T> => {
      await pause();
      boundary();
      const result = await act();
      await pause();
      boundary();
      return result;
    };
    let ownClaim: Uint8Array = new Uint8Array();
    const put = async (...[name, value, how]: Parameters<MetaStore["put"]>): Promise<string> => {
      if (name.endsWith("/owner")) ownClaim = value;
      if (fault !== "saves the task after the appends" || !name.includes("/tasks/")) {
        return meta.put(name, value, how);
      }
      if (await meta.get(name)) return meta.put(name, value);
      clock.schedule(100, () => {
        if (alive) meta.put(name, value).catch(() => undefined);
      });
      return "later";
    };
    const view: MetaStore = {
      ...meta,
      async get(name) {
        await pause();
        if (!alive) throw new MillraceError("UNAVAILABLE", "this process is dead");
        if (fault === "does not look who is the owner" && ownClaim.length > 0) {
          if (name.endsWith("/owner")) return { key: name, value: ownClaim, revision: "" };
        }
        return meta.get(name);
      },
      async list(...args) {
        await pause();
        if (!alive) throw new MillraceError("UNAVAILABLE", "this process is dead");
        return meta.list(...args);
      },
      put: (...args) => effect(() => put(...args)),
      delete: (...args) => effect(() => meta.delete(...args)),
    };

    const append: VchannelAppend = async (vchannel, message, { idempotencyKey, signal }) => {
      const id = BigInt(idempotencyKey.slice("broadcast/".length));
      // Some are so slow that a successor may be done first.
      await delay(clock, random.next() * (random.next() < 0.1 ? 300 : 20), signal);
      return effect(async () => {
        asked.set(id, JSON.parse(new TextDecoder().decode(message.header)) as Asked);
        world.onAppend(vchannel, "before");
        const saved = await recordOf(id);
        if (!saved && fault === undefined) violations.push(`${id} is appended before it is saved`);
        const log = logs.get(vchannel) ?? [];
        logs.set(vchannel, log);
        let copy = has(vchannel, id);
        if (!copy || fault === "appends without an idempotency key") {
          ticks += 1n;
          copy = { id, tick: ticks };
          log.push(copy);
        }
        if (message.type !== change) violations.push(`${id} has another type`);
        world.onAppend(vchannel, "after");
        const sequence = log.indexOf(copy);
        return { id: { sequence, index: 0 }, tick: copy.tick, resume: sequence };
      });
    };
    const appendOrNot: VchannelAppend = async (vchannel, ...rest) => {
      const first = vchannel === control;
      if (fault !== "runs the callback before the last append" || first) {
        return append(vchannel, ...rest);
      }
      append(vchannel, ...rest).catch(() => undefined);
      return { id: { sequence: 0, index: 0 }, tick: 0n, resume: 0 };
    };

    const act = async (id: bigint): Promise<void> => {
      calls.set(id, (calls.get(id) ?? 0) + 1);
      if ((await recordOf(id))?.includes('"state":"done"')) {
        violations.push(`callback of ${id} after its end`);
      }
      for (const place of placesOf(id)) {
        if (!has(place, id)) violations.push(`callback of ${id} before its copy in ${place}`);
      }
      await delay(clock, random.next() * 20);
      await effect(() => {
        world.onCallback(id);
        if (!applied.includes(id)) applied.push(id);
      });
    };
    const callback: Callback = async ({ id }) => {
      if (fault === "forgets the task at its end without having run it") return;
      if (fault !== "ends before the callback") return act(id);
      act(id).catch(() => undefined);
    };

    const broadcaster = createBroadcaster({
      meta: view,
      append: appendOrNot,
      callbacks: new Map([[change, callback]]),
      controlChannel: control,
      nextId: async () => {
        if (fault === "allocates ids before the locks") {
          // As if the one that comes last had asked first.
          early += 1n;
          return 1000n - early;
        }
        ids += 1n;
        return ids;
      },
      onFenced: () => {
        fenced = true;
      },
      clock,
      random,
      ...options,
    });
    await settle(broadcaster.load());
    broadcaster.start();
    return {
      broadcaster,
      kill() {
        alive = false;
      },
      killAfter(count) {
        left = count;
      },
      get boundaries() {
        return boundaries;
      },
      get fenced() {
        return fenced;
      },
    };
  };

  const settle = async <T>(promise: Promise<T>): Promise<T> => {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    await clock.advance(0);
    for (let ms = 0; !settled; ms += 10) {
      if (ms > 600_000) throw new Error("not within ten minutes");
      await clock.advance(10);
    }
    return promise;
  };

  const checkOrder = (a: bigint, b: bigint): void => {
    for (const place of placesOf(a)) {
      const log = logs.get(place) ?? [];
      const [atA, atB] = [a, b].map((id) => log.findIndex((copy) => copy.id === id));
      if (atA === undefined || atB === undefined || atB < 0) continue;
      if (atB < atA) violations.push(`${b} stands before ${a} in ${place}`);
    }
    if (applied.indexOf(a) > applied.indexOf(b)) violations.push(`${b} has its effect before ${a}`);
    const end = Math.max(...placesOf(a).map((place) => Number(has(place, a)?.tick ?? 0n)));
    const begin = Math.min(...placesOf(b).map((place) => Number(has(place, b)?.tick ?? 0n)));
    if (begin < end) violations.push(`${b} begins before ${a} is everywhere`);
  };

  const world: World = {
    clock,
    random,
    meta,
    logs,
    applied,
    calls,
    asked,
    violations,
    onAppend: () => undefined,
    onCallback: () => undefined,
    start,
    request(vchannels, keys, { idempotencyKey = "", ...more } = {}) {
      const wanted = fault === "does not lock" ? [] : keys;
      const asks: Asked = { vchannels, keys };
      if (idempotencyKey !== "") asks.scope = JSON.stringify([idempotencyKey, lockOrder(keys)]);
      return {
        type: change,
        keys: wanted,
        idempotencyKey: fault === "does not know a client's idempotency key" ? "" : idempotencyKey,
        plan: () => ({ header: new TextEncoder().encode(JSON.stringify(asks)), vchannels }),
        ...more,
      };
    },
    settle,
    checkEnd() {
      const begun = new Set([...logs.values()].flat().map(({ id }) => id));
      for (const id of begun) {
        for (const place of placesOf(id)) {
          const copies = (logs.get(place) ?? []).filter((copy) => copy.id === id).length;
          if (copies !== 1) violations.push(`${id} has ${copies} copies in ${place}`);
        }
        if (!applied.includes(id)) violations.push(`${id} has had no effect`);
      }
      const scopes = [...begun].flatMap((id) => asked.get(id)?.scope ?? []);
      if (new Set(scopes).size < scopes.length) violations.push("a request was done twice");
      if (new Set(applied).size < applied.length) violations.push("an effect was had twice");
      const sorted = [...begun].sort((a, b) => (a < b ? -1 : 1));
      for (const [index, a] of sorted.entries()) {
        for (const b of sorted.slice(index + 1)) if (conflict(a, b)) checkOrder(a, b);
      }
    },
  };

  const conflict = (a: bigint, b: bigint): boolean => {
    const keysOf = (id: bigint) => asked.get(id)?.keys ?? [];
    return keysOf(a).some((one) =>
      keysOf(b).some(
        (other) =>
          one.domain === other.domain &&
          one.key === other.key &&
          (one.mode === "exclusive" || other.mode === "exclusive"),
      ),
    );
  };
  return world;
}

/** A key of a resource that tests fight over. */
export function key(name: string, mode: ResourceKey["mode"] = "exclusive"): ResourceKey {
  return { domain: "thing", key: name, mode };
}

/** The result of a broadcast that was to be done. */
export function done(result: BroadcastResult | undefined): BroadcastResult {
  if (!result) throw new Error("nothing was broadcast");
  return result;
}
