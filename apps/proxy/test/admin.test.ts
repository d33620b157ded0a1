import { createClient, type ServiceImpl } from "@connectrpc/connect";
import { createLocalTransport } from "@millrace/rpc";
import { MillraceError, silentLogger } from "@millrace/types";
import { AdminService } from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createProxy } from "../src/mod.ts";

/** A proxy before a coordinator of which only AdminService is there. */
function setUp(service: Partial<ServiceImpl<typeof AdminService>>) {
  const clock = createVirtualClock();
  const proxy = createProxy({
    coord: createLocalTransport((router) => {
      router.service(AdminService, service);
    }),
    transportFor: () => {
      throw new Error("there are no nodes");
    },
    clock,
    random: createSeededRandom(1),
    logger: silentLogger,
  });
  return { clock, admin: createClient(AdminService, createLocalTransport(proxy.routes)) };
}

test("what operators ask is passed on, and so is the answer", async () => {
  const asked: unknown[] = [];
  const { admin } = setUp({
    getClusterStatus: () => ({ collections: 3 }),
    freezeNode({ nodeId }) {
      throw new MillraceError("PRECONDITION_FAILED", `node ${nodeId} is the last`, {
        field: "node_id",
      });
    },
    unfreezeNode({ nodeId }) {
      asked.push(nodeId);
      return {};
    },
    transferPchannel({ pchannel, nodeId }) {
      asked.push([pchannel, nodeId]);
      return { term: 7n };
    },
    updateBalancePolicy: ({ policy, allowRebalance }) => ({
      balance: { policy, allowRebalance: allowRebalance ?? true },
    }),
    abortBroadcast({ broadcastId, force }) {
      asked.push([broadcastId, force]);
      return {};
    },
  });
  expect((await admin.getClusterStatus({})).collections).toBe(3);
  await expect(admin.freezeNode({ nodeId: "a" })).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    message: "node a is the last",
    field: "node_id",
  });
  await admin.unfreezeNode({ nodeId: "a" });
  expect((await admin.transferPchannel({ pchannel: "p", nodeId: "a" })).term).toBe(7n);
  const { balance } = await admin.updateBalancePolicy({ policy: "x", allowRebalance: false });
  expect(balance).toMatchObject({ policy: "x", allowRebalance: false });
  await admin.abortBroadcast({ broadcastId: 1n, force: "forget" });
  expect(asked).toEqual(["a", ["p", "a"], [1n, "forget"]]);
});

test("a change waits for a coordinator that leads; how things are is not known without one", async () => {
  let calls = 0;
  const away = (): void => {
    calls += 1;
    if (calls < 4) throw new MillraceError("UNAVAILABLE", "this coordinator is not active");
  };
  const { clock, admin } = setUp({
    getClusterStatus() {
      away();
      return {};
    },
    freezeNode() {
      away();
      return {};
    },
  });
  await expect(admin.getClusterStatus({})).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const frozen = admin.freezeNode({ nodeId: "a" });
  for (let ms = 0; ms < 1000; ms += 10) {
    await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(10);
  }
  await frozen;
  expect(calls).toBe(4);
});
