import { expect, test } from "vitest";
import { delay } from "../src/mod.ts";
import { createSeededRandom, createVirtualClock } from "../src/testing.ts";

test("the virtual clock stands still until it is advanced", async () => {
  const clock = createVirtualClock({ now: 5000 });
  const ran: string[] = [];
  clock.schedule(10, () => ran.push("ten"));
  await clock.advance(9);
  expect(ran).toEqual([]);
  expect([clock.now(), clock.monotonic(), clock.pending]).toEqual([5009, 9, 1]);
  await clock.advance(1);
  expect(ran).toEqual(["ten"]);
  expect([clock.now(), clock.monotonic(), clock.pending]).toEqual([5010, 10, 0]);
});

test("due timers run in the order of their times, then of scheduling, at their own time", async () => {
  const clock = createVirtualClock();
  const ran: [string, number][] = [];
  const note = (name: string) => () => ran.push([name, clock.monotonic()]);
  clock.schedule(20, note("c"));
  clock.schedule(10, note("a"));
  clock.schedule(10, note("b"));
  clock.schedule(30, note("never"))();
  await clock.advance(100);
  expect(ran).toEqual([
    ["a", 10],
    ["b", 10],
    ["c", 20],
  ]);
});

test("a loop of delays runs within one advance", async () => {
  const clock = createVirtualClock();
  const at: number[] = [];
  const loop = (async () => {
    for (let i = 0; i < 5; i++) {
      await delay(clock, 100);
      at.push(clock.monotonic());
    }
  })();
  await clock.advance(500);
  expect(at).toEqual([100, 200, 300, 400, 500]);
  await loop;
});

test("a jump moves the wall clock and not the monotonic one", () => {
  const clock = createVirtualClock({ now: 1000 });
  clock.jump(-400);
  expect([clock.now(), clock.monotonic()]).toEqual([600, 0]);
});

test("two advances at once are refused", async () => {
  const clock = createVirtualClock();
  const first = clock.advance(1);
  await expect(clock.advance(1)).rejects.toThrow("await that call first");
  await first;
});

test("seeded randomness repeats for a seed and differs between seeds", () => {
  const draw = (seed: number) => {
    const random = createSeededRandom(seed);
    return [random.next(), random.next(), ...random.bytes(8)];
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  const random = createSeededRandom(1);
  const draws = Array.from({ length: 10_000 }, () => random.next());
  expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...draws)).toBeLessThan(1);
  const mean = draws.reduce((sum, value) => sum + value, 0) / draws.length;
  expect(mean).toBeCloseTo(0.5, 1);
});
