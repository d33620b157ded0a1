import { createClient } from "@connectrpc/connect";
import { MillraceError, silentLogger } from "@millrace/types";
import { AllocatorService } from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createLeasedTicks } from "../src/ticks.ts";
import { createFakeCoord } from "./support.ts";

function setUp(blockTicks = 1000) {
  const clock = createVirtualClock();
  const coord = createFakeCoord(clock);
  const ticks = createLeasedTicks({
    allocator: createClient(AllocatorService, coord.transport),
    clock,
    random: createSeededRandom(1),
    logger: silentLogger,
    blockTicks,
  });
  return { clock, coord, ticks };
}

test("ticks of one block are given at once, grow, and never repeat", async () => {
  const { clock, ticks, coord } = setUp();
  const first = ticks.take(10);
  await clock.advance(1);
  const block = await first;
  let last = block.first + BigInt(block.count) - 1n;
  for (let call = 0; call < 20; call++) {
    const next = ticks.take(10, last);
    if (next instanceof Promise) throw new Error("the block has room");
    expect(next.first).toBeGreaterThan(last);
    last = next.first + BigInt(next.count) - 1n;
  }
  expect(coord.blocks).toBe(1);
});

test("a block is not used for longer than 50 ms, and none is fetched at rest", async () => {
  const { clock, ticks, coord } = setUp();
  const first = ticks.take(1);
  await clock.advance(1);
  await first;
  await clock.advance(1000);
  expect(coord.blocks).toBe(1);
  const next = ticks.take(1);
  expect(next).toBeInstanceOf(Promise);
  await clock.advance(1);
  const { first: tick } = await next;
  expect(Number(tick >> 18n)).toBeGreaterThanOrEqual(clock.now() - 50);
  expect(coord.blocks).toBe(2);
});

test("under load the next block is there before the last one ends", async () => {
  const { clock, ticks } = setUp(100_000);
  const first = ticks.take(1);
  await clock.advance(1);
  await first;
  for (let ms = 0; ms < 500; ms++) {
    await clock.advance(1);
    expect(ticks.take(10), `after ${ms} ms`).not.toBeInstanceOf(Promise);
  }
});

test("many takers share a block, each with ticks of its own above its bound", async () => {
  const { clock, ticks } = setUp(100);
  const takers = Array.from({ length: 30 }, () => ticks.take(40));
  await clock.advance(10);
  const blocks = await Promise.all(takers);
  const starts = blocks.map((block) => block.first).sort((a, b) => (a < b ? -1 : 1));
  starts.forEach((start, index) => {
    const before = starts[index - 1];
    if (before !== undefined) expect(start - before).toBeGreaterThanOrEqual(40n);
  });
});

test("a bound that other nodes have reached costs a fresh block, one beyond all time is refused", async () => {
  const { clock, ticks, coord } = setUp();
  const first = ticks.take(1);
  await clock.advance(1);
  await first;
  const other = await createClient(AllocatorService, coord.transport).allocateTimestamps({
    count: 5000,
  });
  const bound = other.first + 4999n;
  const above = ticks.take(1, bound);
  await clock.advance(1);
  expect((await above).first).toBeGreaterThan(bound);
  const beyond = Promise.resolve(ticks.take(1, bound + ((10n ** 6n) << 18n)));
  const refused = expect(beyond).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await clock.advance(10);
  await refused;
  const after = ticks.take(1);
  await clock.advance(1);
  await after;
});

test("takers wait out a short absence of the coordinator, and are told of a long one", async () => {
  const { clock, ticks, coord } = setUp();
  coord.fail = () => {
    throw new MillraceError("UNAVAILABLE", "away");
  };
  const short = ticks.take(1);
  await clock.advance(2000);
  coord.fail = undefined;
  await clock.advance(1000);
  await short;
  await clock.advance(1000);
  coord.fail = () => {
    throw new MillraceError("UNAVAILABLE", "away");
  };
  const long = expect(Promise.resolve(ticks.take(1))).rejects.toMatchObject({
    code: "UNAVAILABLE",
    retryable: true,
  });
  await clock.advance(7000);
  await long;
});

test("a coordinator that hangs is given up: takers wait it out, or are told in bounded time", async () => {
  const { clock, ticks, coord } = setUp();
  coord.fail = () => new Promise<void>(() => undefined);
  const short = ticks.take(1);
  await clock.advance(1500);
  coord.fail = undefined;
  await clock.advance(2000);
  await short;
  await clock.advance(1000);
  coord.fail = () => new Promise<void>(() => undefined);
  const long = expect(Promise.resolve(ticks.take(1))).rejects.toMatchObject({
    code: "UNAVAILABLE",
    retryable: true,
  });
  await clock.advance(7000);
  await long;
  coord.fail = undefined;
  const again = ticks.take(1);
  await clock.advance(1000);
  await again;
});

test("closing ends all waiting", async () => {
  const { clock, ticks, coord } = setUp();
  coord.fail = () => {
    throw new MillraceError("UNAVAILABLE", "away");
  };
  const waiting = expect(Promise.resolve(ticks.take(1))).rejects.toMatchObject({
    code: "ON_SHUTDOWN",
  });
  await clock.advance(10);
  ticks.close();
  await waiting;
  await clock.advance(10_000);
  expect(clock.pending).toBe(0);
  expect(() => ticks.take(1)).toThrow("shutting down");
});
