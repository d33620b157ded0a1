import { createMemoryMetaStore } from "@millrace/storage";
import { MillraceError, silentLogger, tickToMs } from "@millrace/types";
import { createVirtualClock } from "@millrace/types/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeValue } from "../src/fence.ts";
import { openIdAllocator } from "../src/ids.ts";
import { openTickAllocator } from "../src/ticks.ts";
import { createCluster } from "./cluster.ts";

const logger = silentLogger;
const hour = 3_600_000;

test("ticks and ids are ordered and never repeat, over restarts, lost writes and clock jumps", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("take" as const), by: fc.integer({ min: 1, max: 262_144 }) }),
    fc.record({ do: fc.constant("restart" as const), by: fc.constant(0) }),
    fc.record({ do: fc.constant("wait" as const), by: fc.integer({ min: 0, max: 10_000 }) }),
    fc.record({ do: fc.constant("jump" as const), by: fc.constantFrom(-hour, hour, -50, 50) }),
    fc.record({ do: fc.constant("lose a write" as const), by: fc.constant(0) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const clock = createVirtualClock();
      const meta = createMemoryMetaStore({ clock });
      let loseNext = false;
      const put = meta.put.bind(meta);
      meta.put = async (...args) => {
        const revision = await put(...args);
        if (!loseNext) return revision;
        loseNext = false;
        throw new MillraceError("UNAVAILABLE", "the answer was lost");
      };
      const open = () =>
        Promise.all([
          openTickAllocator({ meta, clock, logger }),
          openIdAllocator({ meta, logger }),
        ]);
      let [ticks, ids] = await open();
      let lastTick = -1n;
      let lastId = 0n;
      for (const { do: action, by } of steps) {
        if (action === "restart") [ticks, ids] = await open();
        if (action === "wait") await clock.advance(by);
        if (action === "jump") clock.jump(by);
        if (action === "lose a write") loseNext = true;
        if (action === "take") {
          const tick = await ticks.allocate(by).catch(() => undefined);
          if (tick !== undefined) {
            expect(tick).toBeGreaterThan(lastTick);
            lastTick = tick + BigInt(by) - 1n;
          }
          const id = await ids.allocate(by).catch(() => undefined);
          if (id !== undefined) {
            expect(id).toBeGreaterThan(lastId);
            lastId = id + BigInt(by) - 1n;
          }
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("two allocators on one store, as of a coordinator that does not know it was replaced, never give the same", async () => {
  const calls = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 600_000 })), {
    maxLength: 30,
  });
  await fc.assert(
    fc.asyncProperty(calls, async (steps) => {
      const meta = createMemoryMetaStore();
      const both = [
        await openIdAllocator({ meta, logger }),
        await openIdAllocator({ meta, logger }),
      ] as const;
      const blocks: [bigint, bigint][] = [];
      for (const [second, count] of steps) {
        const first = await both[second ? 1 : 0].allocate(count).catch(() => undefined);
        if (first !== undefined) blocks.push([first, first + BigInt(count)]);
      }
      blocks.sort(([a], [b]) => (a < b ? -1 : 1));
      blocks.slice(1).forEach(([first], i) => {
        expect(first).toBeGreaterThanOrEqual(blocks[i]?.[1] ?? 0n);
      });
    }),
  );
});

test("ticks follow the clock, stand still while it is behind, and wait for the store seldom", async () => {
  const clock = createVirtualClock();
  const meta = createMemoryMetaStore({ clock });
  let writes = 0;
  const put = meta.put.bind(meta);
  meta.put = (...args) => {
    writes += 1;
    return put(...args);
  };
  const ticks = await openTickAllocator({ meta, clock, logger });
  for (let i = 0; i < 200; i++) {
    expect(tickToMs(await ticks.allocate(10))).toBe(clock.now());
    await clock.advance(50);
  }
  // Ten seconds, written every one and a half.
  expect(writes).toBeLessThan(10);
  const ahead = tickToMs(await ticks.allocate(1));
  clock.jump(-hour);
  expect(tickToMs(await ticks.allocate(1))).toBe(ahead);
  clock.jump(2 * hour);
  expect(tickToMs(await ticks.allocate(1))).toBe(clock.now());
});

test("many restarts in a row do not drive ticks away from the clock", async () => {
  const clock = createVirtualClock();
  const meta = createMemoryMetaStore({ clock });
  let last = 0n;
  for (let i = 0; i < 20; i++) {
    const ticks = await openTickAllocator({ meta, clock, logger });
    last = await ticks.allocate(1);
  }
  expect(tickToMs(last) - clock.now()).toBeLessThan(3000 + 20 * 250);
});

test("concurrent calls get blocks of their own while the store is slow", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const calls = Array.from({ length: 50 }, (_, i) =>
    coord.allocator.allocateTimestamps({ count: i + 1 }),
  );
  const blocks = await cluster.settle(Promise.all(calls));
  const sorted = [...blocks].sort((a, b) => (a.first < b.first ? -1 : 1));
  sorted.slice(1).forEach((block, i) => {
    const before = sorted[i];
    expect(block.first).toBeGreaterThanOrEqual((before?.first ?? 0n) + BigInt(before?.count ?? 0));
  });
  expect(blocks[0]?.leaseMs).toBe(50);
  await coord.close();
});

test("counts out of range are refused, damaged bounds are reported", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  for (const count of [0, 262_145, 4_294_967_295]) {
    const call = coord.allocator.allocateTimestamps({ count });
    await expect(call).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "count" });
  }
  for (const count of [0, 10_000_001]) {
    const call = coord.allocator.allocateIds({ count });
    await expect(call).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "count" });
  }
  const { first } = await coord.allocator.allocateIds({ count: 10_000_000 });
  expect(first).toBe(1n);
  await coord.close();
  for (const bad of ["", "-1", "1x", "9".repeat(30)]) {
    await cluster.meta.put("coord/ticks", encodeValue(1, new TextEncoder().encode(bad)));
    await expect(cluster.startCoord()).rejects.toMatchObject({ code: "DATA_LOSS" });
  }
});
