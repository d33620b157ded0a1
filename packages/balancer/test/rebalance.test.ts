import { expect, test } from "vitest";
import { type BalancePolicy, type Layout, pchannelFair } from "../src/mod.ts";
import { pchannels, setUp } from "./set-up.ts";

const loaded = new Map(pchannels.map((name) => [name, ["1"]]));
const minute = 60_000;

test("a pchannel with vchannels is not moved for balance until it was still for five minutes", async () => {
  const { clock, world, start } = await setUp(1, { collections: () => loaded });
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  world.join("b");
  await clock.advance(4 * minute);
  expect(world.held("b")).toEqual([]);
  await clock.advance(2 * minute);
  expect(world.held("b").length).toBe(3);
  await balancer.close();
});

test("the five minutes go on over a restart, whatever the wall clock does", async () => {
  for (const [jumpMs, after] of [
    [0, 1],
    [-60 * minute, 5],
    [60 * minute, 0],
  ] as const) {
    const { clock, world, start } = await setUp(1, { collections: () => loaded });
    world.join("a");
    const first = await start();
    await clock.advance(4 * minute + 100);
    await first.close();
    clock.jump(jumpMs);
    const second = await start();
    world.join("b");
    await clock.advance(100);
    if (after > 0) {
      await clock.advance((after - 1) * minute);
      expect(world.held("b")).toEqual([]);
    }
    await clock.advance(2 * minute);
    expect([jumpMs, world.held("b").length]).toEqual([jumpMs, 3]);
    await second.close();
  }
});

test("one that has not recovered, or of which nothing was heard, is not moved for balance", async () => {
  const lags = new Map<string, number>([
    ["p-0@1", 1000],
    ["p-1@1", 1001],
    ["p-2@1", 0],
    ["p-3@2", 0],
  ]);
  const { clock, world, start } = await setUp(1, {
    collections: () => loaded,
    minRebalanceIntervalMs: 0,
    recoveryLagMs: (name, term) => lags.get(`${name}@${term}`),
  });
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  world.join("b");
  await clock.advance(5 * minute);
  expect(world.held("b")).toEqual(["p-0", "p-2"]);
  await balancer.close();
});

test("what has no owner is placed whatever holds rebalancing up", async () => {
  const { clock, world, start } = await setUp(1, { collections: () => loaded });
  world.join("a");
  world.join("b");
  const balancer = await start();
  await balancer.update({ allowRebalance: false });
  await clock.advance(100);
  world.kill("a");
  await clock.advance(100);
  expect(world.held("b")).toEqual(pchannels);
  await balancer.close();
});

test.each([
  [
    "throws",
    () => {
      throw new Error("division by zero");
    },
    "division by zero",
  ],
  [
    "names nodes that are not there",
    (layout: Layout) => layout.pchannels.map((p) => ({ pchannel: p.name, to: "z" })),
    'moves[0].to: \\"z\\" is not',
  ],
  ["answers something else", () => ({}) as never, "must be a list of moves"],
])(
  "a policy that %s is refused: what is placed stays, what is not is placed all the same",
  async (_what, plan, reason) => {
    let broken = false;
    const policy: BalancePolicy = {
      name: "mine",
      plan: (layout) => (broken ? plan(layout) : pchannelFair().plan(layout)),
    };
    const { clock, world, start, lines } = await setUp(1, { policies: [policy] });
    world.join("a");
    world.join("b");
    const balancer = await start();
    await clock.advance(100);
    const before = world.held("b");
    broken = true;
    world.join("c");
    await clock.advance(100);
    expect(world.held("c")).toEqual([]);
    world.kill("a");
    await clock.advance(10 * minute);
    expect(world.held("b")).toEqual(before);
    expect(world.held("c").length).toBe(3);
    const said = lines.filter((line) => line.includes("the answer of a policy is refused"));
    expect(said).toEqual([expect.stringContaining(reason)]);
    await balancer.close();
  },
);

test("there may be more pchannels than at the last start", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const first = await start();
  await clock.advance(100);
  await first.close();
  const more = [...pchannels, "p-6", "p-7"];
  const second = await start({ pchannels: more });
  await clock.advance(100);
  expect(world.held("a")).toEqual(more);
  expect(second.records().map((record) => record.term)).toEqual(more.map(() => 1));
  await second.close();
});

test("there may not be fewer", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const first = await start();
  await clock.advance(100);
  await first.close();
  await expect(start({ pchannels: pchannels.slice(0, 4) })).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    field: "pchannels",
    message: /has 6 pchannels, among them p-4, .* may be added but not removed/,
  });
});
