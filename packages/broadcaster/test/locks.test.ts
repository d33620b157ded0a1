import { MillraceError } from "@millrace/types";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createLocks, type Release } from "../src/locks.ts";
import { clusterKey, lockOrder } from "../src/resource-keys.ts";
import { key } from "./world.ts";

const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await undefined;
};

test("keys are locked once each, in one order, at their strongest mode, the cluster's among them", () => {
  const keys = [key("b", "shared"), key("a"), key("b"), key("a", "shared")];
  expect(lockOrder(keys)).toEqual([clusterKey("shared"), key("a"), key("b")]);
  expect(lockOrder([clusterKey("exclusive")])).toEqual([clusterKey("exclusive")]);
});

test("who waits is served before who comes later, so that nobody starves", async () => {
  const locks = createLocks({ maxWaiting: 10 });
  const order: string[] = [];
  const take = async (name: string, mode: "shared" | "exclusive"): Promise<Release> => {
    const release = await locks.acquire([key("x", mode)]);
    order.push(name);
    return release;
  };
  const first = await take("shared 1", "shared");
  const writer = take("exclusive", "exclusive");
  const late = [take("shared 2", "shared"), take("shared 3", "shared")];
  await turns();
  expect(order).toEqual(["shared 1"]);
  first();
  const release = await writer;
  await turns();
  expect(order).toEqual(["shared 1", "exclusive"]);
  release();
  release();
  for (const each of await Promise.all(late)) each();
  expect(order).toEqual(["shared 1", "exclusive", "shared 2", "shared 3"]);
  expect(locks.waiting).toBe(0);
});

test("who gives up holds nothing, and no longer stands in the way of those behind", async () => {
  const locks = createLocks({ maxWaiting: 10 });
  const holder = await locks.acquire([key("y", "shared")]);
  const leave = new AbortController();
  const writer = locks.acquire([key("x"), key("y")], leave.signal);
  const reader = locks.acquire([key("y", "shared")]);
  await turns();
  expect(locks.waiting).toBe(2);
  leave.abort(new MillraceError("CANCELLED", "gone"));
  await expect(writer).rejects.toMatchObject({ code: "CANCELLED" });
  (await reader)();
  expect(locks.tryAcquire([key("x")])).toBeDefined();
  holder();
});

test("waiting is bounded, and ends when the locks are closed", async () => {
  const locks = createLocks({ maxWaiting: 1 });
  await locks.acquire([key("x")]);
  const waiting = locks.acquire([key("x")]);
  await expect(locks.acquire([key("x")])).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  locks.close(new MillraceError("UNAVAILABLE", "closing"));
  await expect(waiting).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await expect(locks.acquire([key("y")])).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("random keys: never an exclusive holder with another, never a deadlock", async () => {
  const keys = fc.array(
    fc
      .tuple(fc.constantFrom("a", "b", "c", "d"), fc.boolean())
      .map(([name, shared]) => key(name, shared ? "shared" : "exclusive")),
    { minLength: 1, maxLength: 4 },
  );
  const wish = fc.record({ keys, turns: fc.nat({ max: 5 }), leaves: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(wish, { minLength: 2, maxLength: 20 }), async (wishes) => {
      const locks = createLocks({ maxWaiting: 100 });
      const held = new Map<string, number>();
      const jobs = wishes.map(async ({ keys: wanted, turns: stay, leaves }) => {
        const leave = new AbortController();
        const ordered = lockOrder(wanted);
        const acquired = locks.acquire(ordered, leave.signal);
        if (leaves) queueMicrotask(() => leave.abort(new MillraceError("CANCELLED", "gone")));
        let release: Release;
        try {
          release = await acquired;
        } catch {
          return;
        }
        for (const { key: name, mode } of ordered) {
          const others = held.get(name) ?? 0;
          expect(mode === "shared" ? others >= 0 : others === 0).toBe(true);
          held.set(name, mode === "shared" ? others + 1 : -1);
        }
        for (let i = 0; i < stay; i++) await undefined;
        for (const { key: name, mode } of ordered) {
          held.set(name, mode === "shared" ? (held.get(name) ?? 0) - 1 : 0);
        }
        release();
      });
      let ended = false;
      void Promise.all(jobs).then(() => {
        ended = true;
      });
      for (let i = 0; i < 2000 && !ended; i++) await undefined;
      expect(ended).toBe(true);
      await Promise.all(jobs);
      expect(locks.waiting).toBe(0);
      expect(locks.tryAcquire([key("a"), key("b"), key("c"), key("d")])).toBeDefined();
    }),
    { numRuns: 300 },
  );
});
