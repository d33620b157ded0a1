import { expect, test } from "vitest";
import { pchannelFair, vchannelFair } from "../src/mod.ts";
import { pchannels, setUp } from "./set-up.ts";

const minute = 60_000;
const policies = [pchannelFair(), vchannelFair()];

test("gates and the interval are those in force when they are looked at", async () => {
  const collections = () => new Map(pchannels.map((name) => [name, ["1"]]));
  let minRebalanceIntervalMs = 60 * minute;
  const { clock, world, start } = await setUp(1, {
    collections,
    minRebalanceIntervalMs: () => minRebalanceIntervalMs,
    intervalMs: () => 1000,
  });
  world.join("a");
  const balancer = await start();
  await clock.advance(100);
  world.join("b");
  await clock.advance(10 * minute);
  expect(world.held("b")).toEqual([]);
  minRebalanceIntervalMs = 5 * minute;
  await clock.advance(10_000);
  expect(world.held("b").length).toBe(3);
  await balancer.close();
});

test("the policy and rebalancing are as configured until an operator chooses", async () => {
  let policy = "pchannel-fair";
  let allowRebalance = true;
  const options = { policies, policy: () => policy, allowRebalance: () => allowRebalance };
  const { clock, world, start } = await setUp(1, options);
  world.join("a");
  world.join("b");
  const balancer = await start();
  await clock.advance(100);
  expect(balancer.status()).toMatchObject({ policy, allowRebalance: true });
  policy = "vchannel-fair";
  allowRebalance = false;
  expect(balancer.status()).toMatchObject({ policy, allowRebalance: false });

  // A freeze chooses neither.
  await balancer.freeze("b");
  policy = "pchannel-fair";
  expect(balancer.status()).toMatchObject({ policy, allowRebalance: false, frozen: ["b"] });

  await balancer.update({ policy: "vchannel-fair" });
  await balancer.close();
  const next = await start();
  expect(next.status()).toMatchObject({ policy: "vchannel-fair", allowRebalance: false });
  allowRebalance = true;
  expect(next.status()).toMatchObject({ policy: "vchannel-fair", allowRebalance: true });
  await next.close();
});

test("weights are those in force with each plan, and impossible ones are refused", () => {
  const layout = {
    nodes: ["a", "b"],
    pchannels: [
      { name: "p-0", node: "a", pinned: false, collections: ["1"] },
      { name: "p-1", node: "a", pinned: false, collections: ["1"] },
    ],
  };
  let tolerance = 1000;
  const policy = vchannelFair(() => ({ tolerance }));
  expect(policy.plan(layout)).toEqual([]);
  tolerance = 0;
  expect(policy.plan(layout).length).toBe(1);
  tolerance = -1;
  expect(() => policy.plan(layout)).toThrow("tolerance must be 0 or more");
  expect(() => vchannelFair(() => ({ maxStep: 4 }))).toThrow("maxStep must be 1, 2 or 3");
});
