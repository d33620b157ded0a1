import { createMemoryMetaStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Balancer, createBalancer, pchannelFair } from "../src/mod.ts";
import { createWorld, flaky } from "./world.ts";

const pchannels = Array.from({ length: 6 }, (_, i) => `p-${i}`);

async function setUp(seed = 1) {
  const clock = createVirtualClock();
  const random = createSeededRandom(seed);
  const meta = flaky(createMemoryMetaStore({ clock }), random);
  let balancer: Balancer | undefined;
  const world = createWorld(clock, random, () => balancer?.trigger());
  const start = async (): Promise<Balancer> => {
    const created = createBalancer({
      meta,
      pchannels,
      policies: [pchannelFair()],
      nodes: world.nodes,
      calls: world.calls,
      clock,
      random,
    });
    await created.load();
    created.start();
    balancer = created;
    return created;
  };
  return { clock, meta, world, start };
}

const owners = (balancer: Balancer) =>
  Object.fromEntries(balancer.records().map((r) => [r.name, r.owner?.nodeId]));

test("every pchannel is assigned, spread over the nodes, at its first term", async () => {
  const { clock, world, start } = await setUp();
  world.join("b");
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  expect(balancer.records().map((r) => [r.state, r.term, r.former])).toEqual(
    pchannels.map(() => ["assigned", 1, []]),
  );
  expect(world.held("a")).toEqual(["p-0", "p-2", "p-4"]);
  expect(world.held("b")).toEqual(["p-1", "p-3", "p-5"]);
  await balancer.close();
});

test("when a node dies only its pchannels move, at once and to a higher term", async () => {
  const { clock, world, start } = await setUp();
  for (const id of ["a", "b", "c"]) world.join(id);
  const balancer = await start();
  await clock.advance(100);
  const before = owners(balancer);
  world.kill("b");
  await clock.advance(25);
  for (const { name, term, state, owner } of balancer.records()) {
    const moved = before[name] === "b";
    expect([name, term, state]).toEqual([name, moved ? 2 : 1, "assigned"]);
    if (!moved) expect(owner?.nodeId).toBe(before[name]);
  }
  await balancer.close();
});

test("the state is saved before the node is told", async () => {
  const { clock, meta, world, start } = await setUp();
  const told: (string | undefined)[] = [];
  const { assign } = world.calls;
  world.calls.assign = async (node, pchannel, term, signal) => {
    const entry = await meta.get(`coord/pchannels/${pchannel}`);
    const saved = JSON.parse(new TextDecoder().decode(entry?.value));
    told.push(`${saved.state} ${saved.term === term} ${saved.owner.nodeId === node.nodeId}`);
    await assign(node, pchannel, term, signal);
  };
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  expect(told).toEqual(pchannels.map(() => "assigning true true"));
  await balancer.close();
});

test("a failed attempt is made again at a new term, after a growing delay", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const attempts: number[] = [];
  world.calls.assign = async (_node, pchannel) => {
    if (pchannel === "p-0") attempts.push(clock.monotonic());
    throw new MillraceError("UNAVAILABLE", "no");
  };
  const balancer = await start();
  await clock.advance(60_000);
  const gaps = attempts.slice(1).map((at, i) => at - (attempts[i] ?? 0));
  expect(gaps.length).toBeGreaterThan(15);
  expect(gaps.length).toBeLessThan(35);
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(5);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(5000);
  expect(balancer.records()[0]).toMatchObject({ state: "assigning", term: attempts.length });
  // However often it fails, the record does not grow.
  expect(balancer.records()[0]?.former.length).toBeLessThanOrEqual(1);
  await balancer.close();
});

test("an attempt that hangs is given up, one that waits for its time is made when a node joins", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  world.calls.assign = (_node, _pchannel, _term, signal) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  const balancer = await start();
  await clock.advance(299_000);
  expect(balancer.records()[0]?.term).toBe(1);
  await clock.advance(2000);
  expect(balancer.records()[0]?.term).toBe(2);
  await balancer.close();
});

test("a node that knows a higher term is believed", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const { assign } = world.calls;
  world.calls.assign = async (node, pchannel, term, signal) => {
    if (term < 42) throw new MillraceError("CHANNEL_FENCED", "late", { expected: "41" });
    await assign(node, pchannel, term, signal);
  };
  const balancer = await start();
  await clock.advance(1000);
  expect(balancer.records().map((r) => r.term)).toEqual(pchannels.map(() => 42));
  await balancer.close();
});

test("a node that fails what it is given is left alone for a while, and keeps what it serves", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  const { assign } = world.calls;
  let broken = true;
  let refused = 0;
  world.calls.assign = async (node, pchannel, term, signal) => {
    if (node.nodeId === "b" && broken) {
      refused += 1;
      throw new MillraceError("UNAVAILABLE", "the disk is full");
    }
    await assign(node, pchannel, term, signal);
  };
  world.join("b");
  await clock.advance(4000);
  expect(world.held("a")).toEqual(pchannels);
  expect(refused).toBe(3);
  broken = false;
  await clock.advance(120_000);
  expect(world.held("b").length).toBe(3);
  await balancer.close();
});

test("a report of a stale term changes nothing, one of the present term moves the pchannel", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  await balancer.markUnavailable("p-0", 7);
  await balancer.markUnavailable("p-1", 1);
  await clock.advance(100);
  const terms = balancer.records().map((r) => r.term);
  expect(terms).toEqual([1, 2, 1, 1, 1, 1]);
  expect(world.violations).toEqual([]);
  await balancer.close();
});

test("a draining node is emptied in order, even if nobody can take over", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  const incarnation = balancer.records()[0]?.owner?.incarnation ?? "";
  world.drain("a");
  expect(balancer.holds({ nodeId: "a", incarnation })).toBe(true);
  await clock.advance(100);
  expect(balancer.holds({ nodeId: "a", incarnation })).toBe(false);
  expect(world.held("a")).toEqual([]);
  expect(balancer.records().map((r) => r.state)).toEqual(pchannels.map(() => "unavailable"));
  world.join("b");
  await clock.advance(100);
  expect(world.held("b")).toEqual(pchannels);
  await balancer.close();
});

test("a draining node may go although the node that follows it fails", async () => {
  const { clock, world, start } = await setUp();
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  const incarnation = balancer.records()[0]?.owner?.incarnation ?? "";
  world.calls.assign = async () => {
    throw new MillraceError("UNAVAILABLE", "the disk is full");
  };
  world.join("b");
  world.drain("a");
  await clock.advance(1000);
  expect(balancer.holds({ nodeId: "a", incarnation })).toBe(false);
  await balancer.close();
});

test("damaged metadata is refused", async () => {
  const { meta, start } = await setUp();
  for (const bad of ["", "{", "null", '{"name":"p-0","term":-1}', '{"name":1}']) {
    await meta.put("coord/pchannels/p-0", new TextEncoder().encode(bad));
    await expect(start()).rejects.toMatchObject({ code: "DATA_LOSS" });
  }
});

const step = fc.oneof(
  fc.record({ do: fc.constant("join" as const), node: fc.integer({ min: 0, max: 3 }) }),
  fc.record({ do: fc.constant("kill" as const), node: fc.integer({ min: 0, max: 3 }) }),
  fc.record({ do: fc.constant("drain" as const), node: fc.integer({ min: 0, max: 3 }) }),
  fc.record({ do: fc.constant("report" as const), node: fc.integer({ min: 0, max: 5 }) }),
  fc.record({ do: fc.constant("fail" as const), node: fc.integer({ min: 1, max: 8 }) }),
  fc.record({ do: fc.constant("fail meta" as const), node: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ do: fc.constant("restart" as const), node: fc.constant(0) }),
);

test("through joins, deaths, drains, failures and restarts: one owner, growing terms, convergence", async () => {
  const run = async (
    seed: number,
    steps: { do: string; node: number; wait: number }[],
  ): Promise<void> => {
    const { clock, meta, world, start } = await setUp(seed);
    world.join("n-0");
    let balancer = await start();
    for (const { do: action, node, wait } of steps) {
      if (action === "join") world.join(`n-${node}`);
      if (action === "kill") world.kill(`n-${node}`);
      if (action === "drain") world.drain(`n-${node}`);
      if (action === "fail") world.failNext(node);
      if (action === "fail meta") meta.failNext(node);
      if (action === "report") {
        const record = balancer.records()[node];
        await balancer
          .markUnavailable(record?.name ?? "", record?.term ?? 0)
          .catch(() => undefined);
      }
      if (action === "restart") {
        await balancer.close();
        balancer = await start();
      }
      await clock.advance(wait);
    }
    meta.failNext(0);
    world.failNext(0);
    world.join("n-0");
    await clock.advance(200_000);
    expect(world.violations).toEqual([]);
    for (const { name, state, owner, term, former } of balancer.records()) {
      expect([name, state, former]).toEqual([name, "assigned", []]);
      expect(world.holders(name)).toEqual([{ nodeId: owner?.nodeId, term }]);
    }
    const takers = world.nodes().filter((node) => !node.draining);
    const counts = takers.map((node) => world.held(node.nodeId).length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    for (const name of pchannels) {
      const terms = world.assigned.filter((a) => a.pchannel === name).map((a) => a.term);
      expect(terms).toEqual([...new Set(terms)].sort((a, b) => a - b));
    }
    await balancer.close();
    expect(clock.pending).toBe(0);
  };
  await fc.assert(
    fc.asyncProperty(
      fc.integer(),
      fc.array(
        fc
          .tuple(step, fc.integer({ min: 0, max: 80 }))
          .map(([action, wait]) => ({ ...action, wait })),
        { maxLength: 12 },
      ),
      run,
    ),
    { numRuns: 150 },
  );
});
