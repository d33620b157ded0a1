import { expect, test } from "vitest";
import { backoffDelay, delay, type Random, withTimeLimit } from "../src/mod.ts";
import { createLineLogger, systemClock, systemRandom } from "../src/runtime.node.ts";
import { createSeededRandom, createVirtualClock } from "../src/testing.ts";

test("a delay ends when its time has come and not before", async () => {
  const clock = createVirtualClock();
  let ended = false;
  const waiting = delay(clock, 100).then(() => {
    ended = true;
  });
  await clock.advance(99);
  expect(ended).toBe(false);
  await clock.advance(1);
  expect(ended).toBe(true);
  await waiting;
});

test("an aborted delay rejects with the reason and leaves no timer", async () => {
  const clock = createVirtualClock();
  const controller = new AbortController();
  const waiting = delay(clock, 100, controller.signal);
  const reason = new Error("closing");
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  expect(clock.pending).toBe(0);
});

test("a delay with a signal that is aborted already schedules nothing", async () => {
  const clock = createVirtualClock();
  const reason = new Error("closed");
  await expect(delay(clock, 100, AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(clock.pending).toBe(0);
});

test("a delay that ended does not hear the signal any more", async () => {
  const clock = createVirtualClock();
  const controller = new AbortController();
  const waiting = delay(clock, 10, controller.signal);
  await clock.advance(10);
  controller.abort();
  await expect(waiting).resolves.toBeUndefined();
});

const constant = (value: number): Random => ({ ...createSeededRandom(1), next: () => value });

const never = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

test("a call within its time limit leaves no timer", async () => {
  const clock = createVirtualClock();
  expect(await withTimeLimit(clock, 100, undefined, async () => "done")).toBe("done");
  expect(clock.pending).toBe(0);
});

test("a call beyond its time limit is aborted with DEADLINE_EXCEEDED", async () => {
  const clock = createVirtualClock();
  const call = expect(withTimeLimit(clock, 100, undefined, never)).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
  });
  await clock.advance(100);
  await call;
});

test("a call within its time limit is aborted with the outer signal's reason", async () => {
  const clock = createVirtualClock();
  const outer = new AbortController();
  const reason = new Error("enough");
  const call = expect(withTimeLimit(clock, 100, outer.signal, never)).rejects.toBe(reason);
  outer.abort(reason);
  await call;
  expect(clock.pending).toBe(0);
});

test("backoff doubles up to its limit and takes off up to half", () => {
  const longest = [0, 1, 2, 3, 20, 1000].map((attempt) =>
    backoffDelay(attempt, constant(1), { initialMs: 100, maxMs: 1000 }),
  );
  expect(longest).toEqual([100, 200, 400, 800, 1000, 1000]);
  expect(backoffDelay(0, constant(0))).toBe(5);
  expect(backoffDelay(100, constant(0))).toBe(2500);
});

test("the system's clock and randomness are what they say", async () => {
  expect(systemClock.monotonic()).toBeLessThanOrEqual(systemClock.monotonic());
  expect(systemClock.now()).toBeGreaterThan(1_700_000_000_000);
  await new Promise<void>((resolve) => systemClock.schedule(0, resolve));
  let fired = false;
  const cancel = systemClock.schedule(0, () => {
    fired = true;
  });
  cancel();
  await new Promise<void>((resolve) => systemClock.schedule(1, resolve));
  expect(fired).toBe(false);
  expect(systemRandom.bytes(16)).toHaveLength(16);
  expect(systemRandom.next()).toBeLessThan(1);
});

test("the line logger writes JSON from its level on", () => {
  const lines: string[] = [];
  const logger = createLineLogger({ level: "warn", write: (line) => lines.push(line) });
  logger.info("not this");
  logger.warn("slow", { tick: 5n, error: new Error("timeout") });
  logger.error("gone");
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { time: expect.any(String), level: "warn", message: "slow", tick: "5", error: "timeout" },
    { time: expect.any(String), level: "error", message: "gone" },
  ]);
});
