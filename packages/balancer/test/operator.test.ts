import { MillraceError } from "@millrace/types";
import { expect, test } from "vitest";
import { type Balancer, type BalancePolicy, pchannelFair, vchannelFair } from "../src/mod.ts";
import { pchannels, setUp } from "./set-up.ts";

type SetUp = Awaited<ReturnType<typeof setUp>>;

/** Nodes with all pchannels assigned. */
async function running(ids: string[], options: Parameters<typeof setUp>[1] = {}) {
  const all = await setUp(1, options);
  for (const id of ids) all.world.join(id);
  const balancer = await all.start();
  await all.clock.advance(100);
  return { ...all, balancer };
}

/** Lets time go on while a call is under way. */
async function settle<T>({ clock }: Pick<SetUp, "clock">, call: Promise<T>): Promise<T> {
  call.catch(() => undefined);
  await clock.advance(100);
  return call;
}

const ownerOf = (balancer: Balancer, name: string) =>
  balancer.records().find((record) => record.name === name)?.owner?.nodeId;

test("a frozen node is emptied and given nothing, until it is unfrozen", async () => {
  const { clock, world, balancer } = await running(["a", "b"]);
  await balancer.freeze("a");
  await clock.advance(100);
  expect(world.held("a")).toEqual([]);
  expect(world.held("b")).toEqual(pchannels);
  await clock.advance(600_000);
  expect(world.held("a")).toEqual([]);
  await balancer.unfreeze("a");
  await clock.advance(100);
  expect(world.held("a").length).toBe(3);
  expect(world.violations).toEqual([]);
  await balancer.close();
});

test("a freeze outlives restarts of the node and of the balancer", async () => {
  const { clock, world, balancer, start } = await running(["a", "b"]);
  await balancer.freeze("a");
  await clock.advance(100);
  await balancer.close();
  world.join("a");
  const next = await start();
  await clock.advance(100);
  expect(next.status().frozen).toEqual(["a"]);
  expect(world.held("a")).toEqual([]);
  world.kill("a");
  expect(next.status().frozen).toEqual(["a"]);
  await next.unfreeze("a");
  expect(next.status().frozen).toEqual([]);
  await next.close();
});

test("the last node that could take pchannels is not frozen", async () => {
  const { clock, world, balancer } = await running(["a", "b", "c"]);
  await balancer.freeze("a");
  world.drain("b");
  await clock.advance(100);
  await expect(balancer.freeze("c")).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    message: /c is the last that can take pchannels/,
  });
  expect(balancer.status().frozen).toEqual(["a"]);
  // One that takes nothing anyway may be.
  await balancer.freeze("b");
  // Two at once: the second is looked at when the first is saved.
  await balancer.unfreeze("a");
  const both = await Promise.allSettled([balancer.freeze("a"), balancer.freeze("c")]);
  expect(both).toEqual([
    { status: "fulfilled", value: undefined },
    {
      status: "rejected",
      reason: expect.objectContaining({ message: expect.stringMatching(/c is the last/) }),
    },
  ]);
  await balancer.close();
});

test("what a frozen node serves goes on while nobody can take it", async () => {
  const { clock, meta, world, balancer, start } = await running(["a", "b"]);
  const served = world.held("b");
  await balancer.close();
  // As by a balancer that died when it had saved the freeze.
  const settings = { policy: "pchannel-fair", allowRebalance: true, frozen: ["b"] };
  await meta.put("coord/balance", new TextEncoder().encode(JSON.stringify(settings)));
  world.kill("a");
  const next = await start();
  await clock.advance(60_000);
  expect(world.held("b")).toEqual(served);
  const assigned = next.records().filter((record) => record.state === "assigned");
  expect(assigned.map((record) => record.name)).toEqual(served);
  world.join("c");
  await clock.advance(100);
  expect(world.held("c")).toEqual(pchannels);
  expect(world.held("b")).toEqual([]);
  await next.close();
});

test("a transferred pchannel is served by the node, and stays there", async () => {
  const all = await running(["a", "b"]);
  const { clock, world, balancer } = all;
  const names = world.held("a");
  for (const name of names) {
    const record = await settle(all, balancer.transfer(name, "b"));
    expect(record).toMatchObject({ name, term: 2, state: "assigned", preferred: { nodeId: "b" } });
  }
  await clock.advance(3_600_000);
  balancer.trigger();
  await clock.advance(100);
  // The others may be moved to make up for it, these not.
  for (const name of names) expect(ownerOf(balancer, name)).toBe("b");
  expect(world.held("b").length).toBe(3);
  expect(world.violations).toEqual([]);
  await balancer.close();
});

test("a transfer outlives the balancer and failures, but not the run of the node", async () => {
  const all = await running(["a", "b"]);
  const { clock, world, balancer, start } = all;
  for (const name of pchannels) await settle(all, balancer.transfer(name, "b"));
  await balancer.close();
  const next = await start();
  await clock.advance(600_000);
  expect(world.held("b")).toEqual(pchannels);
  // Reported as lost: it goes back to where the operator wants it.
  await next.markUnavailable("p-0", next.records()[0]?.term ?? 0);
  await clock.advance(100);
  expect(ownerOf(next, "p-0")).toBe("b");
  world.join("b");
  await clock.advance(100);
  expect(world.held("b").length).toBe(3);
  expect(next.records().every((record) => record.preferred === undefined)).toBe(true);
  await next.close();
});

test("a pchannel that is on its way is transferred when it has arrived", async () => {
  const all = await running(["a", "b"]);
  const { clock, world, balancer } = all;
  const { assign } = world.calls;
  const arrivals: string[] = [];
  world.calls.assign = async (node, pchannel, term, signal) => {
    await assign(node, pchannel, term, signal);
    arrivals.push(`${pchannel}@${term} at ${node.nodeId}`);
  };
  const [name = ""] = world.held("a");
  await balancer.markUnavailable(name, 1);
  await clock.advance(6);
  await settle(all, balancer.transfer(name, "b"));
  const own = arrivals.filter((arrival) => arrival.startsWith(name));
  expect(own).toEqual([expect.stringMatching(/@2 at/), `${name}@3 at b`]);
  await balancer.close();
});

test("a pchannel that is there already only stays, at its term", async () => {
  const all = await running(["a", "b"]);
  const { world, balancer } = all;
  const [name = ""] = world.held("a");
  const record = await settle(all, balancer.transfer(name, "a"));
  expect(record).toMatchObject({ term: 1, preferred: { nodeId: "a" } });
  await balancer.close();
});

test("a transfer to a node that fails is said to have failed, and the pchannel is served elsewhere", async () => {
  const all = await running(["a", "b"]);
  const { clock, world, balancer } = all;
  const { assign } = world.calls;
  world.calls.assign = async (node, pchannel, term, signal) => {
    if (node.nodeId === "b") throw new MillraceError("UNAVAILABLE", "the disk is full");
    await assign(node, pchannel, term, signal);
  };
  const [name = ""] = world.held("a");
  await expect(settle(all, balancer.transfer(name, "b"))).rejects.toMatchObject({
    message: expect.stringMatching(/could not be transferred to node b.*: the disk is full/),
    maybeApplied: true,
    retryable: false,
  });
  await clock.advance(1000);
  expect(ownerOf(balancer, name)).toBe("a");
  expect(world.held("a")).toContain(name);
  await balancer.close();
});

test("who does not wait any longer does not end the transfer", async () => {
  const { clock, world, balancer } = await running(["a", "b"]);
  const [name = ""] = world.held("a");
  const caller = new AbortController();
  const waiting = balancer.transfer(name, "b", caller.signal);
  caller.abort(new Error("gone"));
  await expect(waiting).rejects.toThrow("gone");
  await clock.advance(100);
  expect(ownerOf(balancer, name)).toBe("b");
  await balancer.close();
});

test("what is not there, frozen or draining is refused, and what is there is named", async () => {
  const all = await running(["a", "b", "c"]);
  const { clock, world, balancer } = all;
  await balancer.freeze("b");
  world.drain("c");
  world.join("d");
  world.kill("d");
  await clock.advance(100);
  const refused: [() => Promise<unknown>, string, string, string][] = [
    [() => balancer.transfer("p-9", "a"), "INVALID_ARGUMENT", "pchannel", "known: p-0, p-1"],
    [() => balancer.transfer("p-0", "d"), "INVALID_ARGUMENT", "node_id", "known: a, b, c"],
    [() => balancer.transfer("p-0", "b"), "PRECONDITION_FAILED", "node_id", "b is frozen"],
    [() => balancer.transfer("p-0", "c"), "PRECONDITION_FAILED", "node_id", "c is draining"],
    [() => balancer.freeze("d"), "INVALID_ARGUMENT", "node_id", "known: a, b, c"],
    [() => balancer.unfreeze("x"), "INVALID_ARGUMENT", "node_id", "known: a, b, c"],
    [() => balancer.update({ policy: "best" }), "INVALID_ARGUMENT", "policy", "pchannel-fair"],
  ];
  for (const [call, code, field, text] of refused) {
    const error = await call().then(
      () => undefined,
      (reason: unknown) => MillraceError.from(reason),
    );
    expect([error?.code, error?.field]).toEqual([code, field]);
    expect(error?.message).toContain(text);
  }
  await balancer.close();
});

test("the policy is changed while it runs, and the change is saved", async () => {
  const collections = new Map(
    pchannels.map((name, i) => [name, Array.from({ length: i < 3 ? 8 : 1 }, (_, c) => `${i}${c}`)]),
  );
  const options = {
    policies: [pchannelFair(), vchannelFair()],
    collections: () => collections,
    minRebalanceIntervalMs: 0,
  };
  const { clock, world, balancer, start } = await running(["a", "b"], options);
  const big = (node: string): number => world.held(node).filter((name) => name < "p-3").length;
  expect(balancer.status()).toMatchObject({ policy: "pchannel-fair", allowRebalance: true });
  expect([big("a"), big("b")]).toEqual([2, 1]);
  await balancer.update({ allowRebalance: false });
  await balancer.update({ policy: "vchannel-fair" });
  await balancer.close();
  const next = await start();
  expect(next.status()).toEqual({
    policy: "vchannel-fair",
    policies: ["pchannel-fair", "vchannel-fair"],
    allowRebalance: false,
    frozen: [],
  });
  world.join("c");
  await clock.advance(120_000);
  expect(world.held("c")).toEqual([]);
  await next.update({ allowRebalance: true });
  await clock.advance(120_000);
  expect([big("a"), big("b"), big("c")]).toEqual([1, 1, 1]);
  await next.close();
});

test("a policy that is not there any more is replaced by the first, and wanted still", async () => {
  const custom: BalancePolicy = { ...pchannelFair(), name: "custom" };
  const { balancer, start, world, clock, lines } = await running(["a"], {
    policies: [pchannelFair(), custom],
  });
  await balancer.update({ policy: "custom" });
  await balancer.close();
  const without = await start({ policies: [vchannelFair()] });
  expect(without.status().policy).toBe("vchannel-fair");
  world.join("b");
  await clock.advance(100);
  expect(world.held("b").length).toBe(3);
  const said = lines.filter((line) => line.startsWith("there is no such policy"));
  expect(said).toEqual([expect.stringContaining('"wanted":"custom"')]);
  await without.close();
  const back = await start();
  expect(back.status().policy).toBe("custom");
  await back.close();
});

test("damaged settings are refused", async () => {
  const { meta, start } = await setUp();
  for (const bad of [
    "",
    "{",
    "null",
    '{"policy":1}',
    '{"policy":"x","allowRebalance":true,"frozen":[1]}',
  ]) {
    await meta.put("coord/balance", new TextEncoder().encode(bad));
    await expect(start()).rejects.toMatchObject({ code: "DATA_LOSS" });
  }
});

test("settings whose saving failed are not in force, and may be sent again", async () => {
  for (let seed = 1; seed < 20; seed++) {
    const { meta, world, start, clock } = await setUp(seed);
    world.join("a");
    world.join("b");
    const balancer = await start();
    await clock.advance(100);
    meta.failNext(1);
    await expect(balancer.freeze("a")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await balancer.freeze("a");
    expect(balancer.status().frozen).toEqual(["a"]);
    await balancer.close();
  }
});
