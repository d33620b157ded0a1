import { MillraceError } from "@millrace/types";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { BroadcastResult } from "../src/mod.ts";
import { createWorld, key, type PlantedFault, type Run, type World } from "./world.ts";

const lostAnswer = (): MillraceError =>
  new MillraceError("UNAVAILABLE", "the answer was lost", { maybeApplied: true });

/** Calls whose results are checked: a success has had its effect, wherever the result says. */
function caller(world: World) {
  const calls: Promise<void>[] = [];
  const check = (result: BroadcastResult | undefined): void => {
    if (!result) return;
    if (!world.applied.includes(result.id)) {
      world.violations.push(`${result.id} was answered before its effect`);
    }
    for (const [vchannel, { tick }] of result.results) {
      const copy = world.logs.get(vchannel)?.find(({ id }) => id === result.id);
      if (copy?.tick !== tick) world.violations.push(`${result.id} is not where its result says`);
    }
  };
  return {
    call(run: Run, ...args: Parameters<World["request"]>): void {
      const call = run.broadcaster.broadcast(world.request(...args));
      calls.push(
        call.then(check).catch((error: unknown) => {
          if (!MillraceError.is(error)) throw error;
        }),
      );
    },
    ended: () => world.settle(Promise.all(calls)),
  };
}

async function finish(world: World, run: Run, calls: ReturnType<typeof caller>): Promise<void> {
  world.onAppend = () => undefined;
  world.onCallback = () => undefined;
  await world.clock.advance(60_000);
  await calls.ended();
  if (run.broadcaster.tasks().length > 0) world.violations.push("a task is stuck");
  await world.settle(run.broadcaster.close());
  world.checkEnd();
}

/** Three broadcasts, two of which conflict, and a crash after so many boundaries. */
async function crashAfter(boundaries: number, fault?: PlantedFault): Promise<[World, boolean]> {
  const world = createWorld(boundaries + 1, fault);
  const run = await world.start();
  const calls = caller(world);
  const before = run.boundaries;
  run.killAfter(boundaries);
  calls.call(run, ["a", "b"], [key("x")], { idempotencyKey: "1" });
  calls.call(run, ["b", "c"], [key("x")]);
  calls.call(run, ["a"], [key("y", "shared")]);
  await world.clock.advance(500);
  const survived = run.boundaries - before <= boundaries;
  run.kill();
  await world.settle(run.broadcaster.close());
  const next = await world.start();
  calls.call(next, ["a", "b"], [key("x")], { idempotencyKey: "1" });
  calls.call(next, ["c"], [key("x"), key("y")]);
  await finish(world, next, calls);
  return [world, survived];
}

test("a crash at any boundary of a write, an append or a callback: what was begun is ended, once", async () => {
  let boundaries = 0;
  for (; ; boundaries++) {
    const [world, survived] = await crashAfter(boundaries);
    expect([boundaries, world.violations]).toEqual([boundaries, []]);
    // The broadcast with the key was done once over both runs.
    const keyed = [...world.asked.values()].filter(({ vchannels }) => vchannels.join() === "a,b");
    expect([boundaries, keyed.length]).toEqual([boundaries, 1]);
    if (survived) break;
  }
  expect(boundaries).toBeGreaterThan(30);
});

const step = fc.record({
  vchannels: fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"), { minLength: 1, maxLength: 4 }),
  keys: fc.array(
    fc
      .tuple(fc.constantFrom("x", "y", "z"), fc.constantFrom("shared", "exclusive"))
      .map(([name, mode]) => key(name, mode as "shared" | "exclusive")),
    { minLength: 1, maxLength: 3 },
  ),
  idempotencyKey: fc.constantFrom("", "", "1", "2"),
  crash: fc.option(fc.nat({ max: 30 }), { freq: 4 }),
  /** How many appends and callbacks fail. */
  trouble: fc.nat({ max: 4 }),
  wait: fc.nat({ max: 60 }),
});

async function random(seed: number, steps: Step[], fault?: PlantedFault): Promise<World> {
  const world = createWorld(seed, fault);
  let trouble = 0;
  const fail = (): void => {
    if (trouble > 0 && world.random.next() < 0.5) {
      trouble -= 1;
      throw lostAnswer();
    }
  };
  world.onAppend = fail;
  world.onCallback = fail;
  const calls = caller(world);
  let run = await world.start();
  for (const { vchannels, keys, idempotencyKey, crash, trouble: more, wait } of steps) {
    trouble += more;
    if (crash !== null) run.killAfter(crash);
    calls.call(run, vchannels, keys, { idempotencyKey });
    await world.clock.advance(wait);
    if (crash === null) continue;
    run.kill();
    await world.settle(run.broadcaster.close());
    run = await world.start();
  }
  await finish(world, run, calls);
  return world;
}

type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;
const steps = fc.array(step, { minLength: 1, maxLength: 12 });

test("random broadcasts, failures and crashes: conflicting ones in one order, each once, none stuck", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), steps, async (seed, sequence) => {
      const world = await random(seed, sequence);
      expect(world.violations).toEqual([]);
    }),
    { numRuns: 150 },
  );
});

/** A broadcaster that does not know that it was replaced, beside the one that replaced it. */
async function zombie(seed: number, sequence: Step[], fault?: PlantedFault): Promise<World> {
  const world = createWorld(seed, fault);
  const calls = caller(world);
  let run = await world.start();
  for (const { vchannels, keys, crash, wait } of sequence) {
    calls.call(run, vchannels, keys);
    if (crash === null) {
      await world.clock.advance(wait);
      continue;
    }
    await world.clock.advance(wait);
    const old = run;
    for (const ms of [0, 2, 5, crash]) {
      world.clock.schedule(ms, () => calls.call(old, vchannels, keys));
    }
    run = await world.start();
    calls.call(run, vchannels, keys);
    await world.clock.advance(crash);
  }
  await finish(world, run, calls);
  return world;
}

test("one that was replaced begins nothing any more and ends nothing twice", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), steps, async (seed, sequence) => {
      const world = await zombie(seed, sequence);
      expect(world.violations).toEqual([]);
    }),
    { numRuns: 150 },
  );
});

test.each<PlantedFault>([
  "saves the task after the appends",
  "allocates ids before the locks",
  "does not lock",
  "appends without an idempotency key",
  "does not know a client's idempotency key",
  "ends before the callback",
  "runs the callback before the last append",
  "forgets the task at its end without having run it",
])("a broadcaster that %s is caught", async (fault) => {
  const found = async (): Promise<string | undefined> => {
    for (let boundaries = 0; boundaries < 80; boundaries++) {
      const [world] = await crashAfter(boundaries, fault);
      if (world.violations.length > 0) return world.violations[0];
    }
    return undefined;
  };
  expect(await found()).toBeDefined();
});

test("a broadcaster that does not look who is the owner is caught", async () => {
  const found = async (): Promise<string | undefined> => {
    const samples = fc.sample(fc.tuple(fc.integer(), steps), { numRuns: 300, seed: 1 });
    for (const [seed, sequence] of samples) {
      const world = await zombie(seed, sequence, "does not look who is the owner");
      if (world.violations.length > 0) return world.violations[0];
    }
    return undefined;
  };
  expect(await found()).toBeDefined();
});
