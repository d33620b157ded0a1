import { MillraceError } from "@millrace/types";
import { expect, test } from "vitest";
import { clusterKey } from "../src/mod.ts";
import { change, control, createWorld, done, key } from "./world.ts";

const unavailable = (): MillraceError =>
  new MillraceError("UNAVAILABLE", "the answer was lost", { maybeApplied: true });
const noOwner = (): MillraceError => new MillraceError("CHANNEL_NOT_EXIST", "nobody serves it");

test("a broadcast reaches every vchannel and the control channel, then has its effect", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  const result = done(
    await world.settle(broadcaster.broadcast(world.request(["a", "b"], [key("x")]))),
  );
  expect([...result.results.keys()].sort()).toEqual(["a", "b"]);
  expect(result.duplicate).toBe(false);
  for (const vchannel of ["a", "b"]) {
    expect(world.logs.get(vchannel)).toEqual([
      { id: result.id, tick: result.results.get(vchannel)?.tick },
    ]);
  }
  expect(world.logs.get(control)?.[0]?.tick).toBe(result.controlTick);
  expect(world.applied).toEqual([result.id]);
  expect(broadcaster.tasks()).toEqual([]);
  await world.settle(broadcaster.close());
});

test("each vchannel is tried until it has its copy, whoever else fails", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  let lost = 5;
  let refused = 5;
  world.onAppend = (vchannel, when) => {
    if (vchannel === "a" && when === "after" && lost-- > 0) throw unavailable();
    if (vchannel === "b" && when === "before" && refused-- > 0) throw noOwner();
  };
  await world.settle(broadcaster.broadcast(world.request(["a", "b", "c"], [key("x")])));
  world.checkEnd();
  expect(world.violations).toEqual([]);
  expect([lost, refused]).toEqual([-1, -1]);
  await world.settle(broadcaster.close());
});

test("the callback is tried until it succeeds, and conflicting broadcasts wait for that", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onCallback = (id) => {
    if (id === 1n && world.calls.get(id) !== 4) throw unavailable();
  };
  const first = broadcaster.broadcast(world.request(["a"], [key("x")]));
  const second = broadcaster.broadcast(world.request(["a"], [key("x")]));
  const third = broadcaster.broadcast(world.request(["a"], [key("y")]));
  await world.settle(Promise.all([first, second, third]));
  expect(world.calls.get(1n)).toBe(4);
  expect(world.applied.indexOf(1n)).toBeLessThan(world.applied.indexOf(3n));
  // What does not conflict went by.
  expect(world.applied[0]).toBe(2n);
  world.checkEnd();
  expect(world.violations).toEqual([]);
  await world.settle(broadcaster.close());
});

test("those who share a key run together; an exclusive cluster key runs alone", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  let together = 0;
  let most = 0;
  world.onAppend = (vchannel, when) => {
    if (vchannel === control) return;
    together += when === "before" ? 1 : 0;
    most = Math.max(most, together);
  };
  const shared = Array.from({ length: 4 }, (_, i) =>
    broadcaster.broadcast(world.request([`v${i}`], [key("x", "shared")])),
  );
  await world.clock.advance(10);
  expect(broadcaster.tasks()).toHaveLength(4);
  const alone = broadcaster.broadcast(world.request(["a"], [clusterKey("exclusive")]));
  const after = broadcaster.broadcast(world.request(["b"], [key("other")]));
  await world.clock.advance(0);
  expect(broadcaster.tasks()).toHaveLength(4);
  expect(broadcaster.waiting()).toBe(2);
  await world.settle(Promise.all([...shared, alone, after]));
  expect(world.applied.slice(4)).toEqual([5n, 6n]);
  await world.settle(broadcaster.close());
});

test("a caller that leaves does not end the task, but does end the wait for locks", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onAppend = () => {
    throw noOwner();
  };
  const leave = new AbortController();
  const { signal } = leave;
  const begun = broadcaster.broadcast(world.request(["a"], [key("x")], { signal }));
  const waiting = broadcaster.broadcast(world.request(["a"], [key("x")], { signal }));
  await world.clock.advance(100);
  leave.abort(new MillraceError("CANCELLED", "gone"));
  await expect(begun).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
  expect(broadcaster.waiting()).toBe(0);
  world.onAppend = () => undefined;
  await world.settle(broadcaster.broadcast(world.request(["a"], [key("x")])));
  expect(world.applied).toEqual([1n, 2n]);
  await world.settle(broadcaster.close());
});

test("a plan that refuses or finds nothing to do gives the locks back", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  const refuse = (): never => {
    throw new MillraceError("COLLECTION_EXISTS", "it is there");
  };
  const refused = broadcaster.broadcast(world.request(["a"], [key("x")], { plan: refuse }));
  await expect(refused).rejects.toMatchObject({ code: "COLLECTION_EXISTS" });
  const nothing = broadcaster.broadcast(
    world.request(["a"], [key("x")], { plan: () => undefined }),
  );
  expect(await nothing).toBeUndefined();
  await world.settle(broadcaster.broadcast(world.request(["a"], [key("x")])));
  expect(world.applied).toEqual([1n]);
  await world.settle(broadcaster.close());
});

test("an idempotency key answers with the first broadcast: while it runs, after it, after a restart", async () => {
  const world = createWorld();
  const run = await world.start();
  const request = world.request(["a", "b"], [key("x")], { idempotencyKey: "mine" });
  const calls = [1, 2, 3].map(() => run.broadcaster.broadcast(request));
  const results = (await world.settle(Promise.all(calls))).map(done);
  expect(results.map(({ id }) => id)).toEqual([1n, 1n, 1n]);
  expect(results.map(({ duplicate }) => duplicate)).toEqual([false, true, true]);
  const again = done(await run.broadcaster.broadcast(request));
  expect(again).toEqual({ ...results[0], duplicate: true });
  await world.settle(run.broadcaster.close());

  const { broadcaster } = await world.start();
  expect(done(await broadcaster.broadcast(request))).toEqual(again);
  // Another scope is another broadcast.
  const other = world.request(["a"], [key("y")], { idempotencyKey: "mine" });
  expect(done(await world.settle(broadcaster.broadcast(other))).id).toBe(2n);
  expect(world.applied).toEqual([1n, 2n]);
  await world.settle(broadcaster.close());
});

test("a duplicate takes over where the first one was refused or gave up", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  const holder = broadcaster.broadcast(world.request(["a"], [key("x")]));
  const leave = new AbortController();
  const idempotencyKey = "mine";
  const first = broadcaster.broadcast(
    world.request(["a"], [key("x")], { idempotencyKey, signal: leave.signal }),
  );
  const second = broadcaster.broadcast(world.request(["a"], [key("x")], { idempotencyKey }));
  await world.clock.advance(0);
  leave.abort(new MillraceError("CANCELLED", "gone"));
  await expect(first).rejects.toMatchObject({ code: "CANCELLED" });
  const result = done(await world.settle(second));
  expect(result).toMatchObject({ id: 2n, duplicate: false });
  await holder;
  await world.settle(broadcaster.close());
});

test("with acks after flush the callback waits for every vchannel, over a restart; late acks are no-ops", async () => {
  const world = createWorld();
  const run = await world.start();
  const plan = {
    header: new TextEncoder().encode(JSON.stringify({ vchannels: ["a", "b"], keys: [] })),
    vchannels: ["a", "b"],
    ackWhen: "flushed" as const,
  };
  const request = world.request([], [key("x")], { plan: () => plan });
  const lost = run.broadcaster.broadcast(request);
  lost.catch(() => undefined);
  await world.clock.advance(1000);
  await world.settle(run.broadcaster.ack(1n, "a"));
  await world.settle(run.broadcaster.ack(1n, "a"));
  await expect(run.broadcaster.ack(1n, "c")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(run.broadcaster.ack(9n, "a")).rejects.toMatchObject({ code: "NOT_FOUND" });
  run.kill();
  await world.settle(run.broadcaster.close());
  await expect(lost).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: true });

  const { broadcaster } = await world.start();
  await world.clock.advance(1000);
  expect(world.applied).toEqual([]);
  const [task] = broadcaster.tasks();
  expect(task).toMatchObject({ id: 1n, state: "acking", ackWhen: "flushed" });
  expect(task?.copies.map(({ vchannel, state }) => [vchannel, state])).toEqual([
    [control, "acked"],
    ["a", "acked"],
    ["b", "appended"],
  ]);
  await world.settle(broadcaster.ack(1n, "b"));
  await world.clock.advance(1000);
  expect(world.applied).toEqual([1n]);
  await broadcaster.ack(1n, "b");
  expect(broadcaster.tasks()).toEqual([]);
  await world.settle(broadcaster.close());
});

test("what is stuck can be seen: since when, where, and why", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onAppend = (vchannel) => {
    if (vchannel === "b") throw noOwner();
  };
  const since = world.clock.now();
  void broadcaster.broadcast(world.request(["a", "b"], [key("x")])).catch(() => undefined);
  await world.clock.advance(60_000);
  const [task] = broadcaster.tasks();
  expect(task).toMatchObject({ id: 1n, since, state: "appending", message: { type: change } });
  expect(task?.keys.map(({ domain, mode }) => [domain, mode])).toEqual([
    ["cluster", "shared"],
    ["thing", "exclusive"],
  ]);
  const [, a, b] = task?.copies ?? [];
  const tick = world.logs.get("a")?.[0]?.tick;
  expect(a).toEqual({ vchannel: "a", state: "acked", tick, failures: 0, problem: "" });
  expect(b).toMatchObject({ vchannel: "b", state: "waiting", problem: "nobody serves it" });
  // 10 ms, doubled to 10 s: no busy loop.
  expect(b?.failures).toBeGreaterThan(12);
  expect(b?.failures).toBeLessThan(30);
  await world.settle(broadcaster.close());
});

test("what waits to be tried again is tried at once when something changed", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onAppend = () => {
    throw noOwner();
  };
  const call = broadcaster.broadcast(world.request(["a"], [key("x")]));
  await world.clock.advance(60_000);
  world.onAppend = () => undefined;
  let ended = false;
  void call.then(() => {
    ended = true;
  });
  broadcaster.trigger();
  await world.clock.advance(400);
  expect(ended).toBe(true);
  await world.settle(broadcaster.close());
});

test("an aborted broadcast that reached nothing is as if it had never been", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onAppend = (_vchannel, when) => {
    if (when === "before") throw noOwner();
  };
  const request = world.request(["a", "b"], [key("x")], { idempotencyKey: "mine" });
  const call = broadcaster.broadcast(request);
  const failed = expect(call).rejects.toMatchObject({ code: "CANCELLED", retryable: false });
  await world.clock.advance(1000);
  await world.settle(broadcaster.abort(1n));
  await failed;
  expect(broadcaster.tasks()).toEqual([]);
  await expect(broadcaster.broadcast(request)).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(broadcaster.abort(1n)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  world.onAppend = () => undefined;
  await world.settle(broadcaster.broadcast(world.request(["a"], [key("x")])));
  expect(world.applied).toEqual([2n]);
  expect(world.logs.get("b")).toBeUndefined();
  await world.settle(broadcaster.close());
  const next = await world.start();
  expect(next.broadcaster.tasks()).toEqual([]);
  await world.settle(next.broadcaster.close());
});

test("what may have reached a vchannel is not aborted without force, and goes on", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onAppend = (vchannel) => {
    if (vchannel === "b") throw noOwner();
  };
  const call = broadcaster.broadcast(world.request(["a", "b"], [key("x")]));
  await world.clock.advance(1000);
  const refused = broadcaster.abort(1n);
  await expect(world.settle(refused)).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    message: expect.stringContaining("get b served again"),
  });
  world.onAppend = () => undefined;
  expect(done(await world.settle(call)).leftOut).toEqual([]);
  world.checkEnd();
  expect(world.violations).toEqual([]);
  await world.settle(broadcaster.close());
});

test("what an earlier process may have tried counts as what may have arrived", async () => {
  const world = createWorld();
  const run = await world.start();
  world.onAppend = () => {
    throw noOwner();
  };
  run.broadcaster.broadcast(world.request(["a"], [key("x")])).catch(() => undefined);
  await world.clock.advance(1000);
  run.kill();
  await world.settle(run.broadcaster.close());
  const { broadcaster } = await world.start();
  await world.clock.advance(1000);
  expect(broadcaster.tasks()[0]?.copies.map(({ state }) => state)).toEqual(["unknown", "unknown"]);
  const refused = broadcaster.abort(1n);
  await expect(world.settle(refused)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  await world.settle(broadcaster.abort(1n, { force: "forget" }));
  expect(broadcaster.tasks()).toEqual([]);
  await world.settle(broadcaster.close());
});

test("by force it finishes without those that lack it, or is forgotten", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onAppend = (vchannel) => {
    if (vchannel === "b") throw unavailable();
  };
  const finished = broadcaster.broadcast(world.request(["a", "b"], [key("x")]));
  await world.clock.advance(1000);
  world.violations.length = 0;
  await world.settle(broadcaster.abort(1n, { force: "finish" }));
  expect(done(await world.settle(finished))).toMatchObject({ id: 1n, leftOut: ["b"] });
  expect(world.applied).toEqual([1n]);

  const forgotten = broadcaster.broadcast(world.request(["a", "b"], [key("x")]));
  const failed = expect(forgotten).rejects.toMatchObject({ code: "CANCELLED" });
  await world.clock.advance(1000);
  await world.settle(broadcaster.abort(2n, { force: "forget" }));
  await failed;
  expect(world.applied).toEqual([1n]);
  expect(broadcaster.tasks()).toEqual([]);
  await world.settle(broadcaster.close());
});

test("a callback that never succeeds holds its locks until it is mended or forgotten by force", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start();
  world.onCallback = () => {
    throw new Error("no space");
  };
  void broadcaster.broadcast(world.request(["a"], [key("x")])).catch(() => undefined);
  await world.clock.advance(5000);
  expect(broadcaster.tasks()[0]).toMatchObject({ state: "callback", problem: "no space" });
  for (const options of [{}, { force: "finish" as const }]) {
    await expect(world.settle(broadcaster.abort(1n, options))).rejects.toMatchObject({
      code: "PRECONDITION_FAILED",
      message: expect.stringContaining("its callback alone"),
    });
  }
  await world.settle(broadcaster.abort(1n, { force: "forget" }));
  world.onCallback = () => undefined;
  await world.settle(broadcaster.broadcast(world.request(["a"], [key("x")])));
  expect(world.applied).toEqual([2n]);
  await world.settle(broadcaster.close());
});

test("ended broadcasts are remembered for a time and up to a number, in the store as well", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start({ maxTombstones: 10, tombstoneMs: 3_600_000 });
  const one = (name: string) =>
    world.settle(broadcaster.broadcast(world.request(["a"], [key("x")], { idempotencyKey: name })));
  for (let i = 0; i < 25; i++) await one(`k${i}`);
  await world.clock.advance(1000);
  expect(await world.meta.list("broadcast/tasks/")).toHaveLength(10);
  expect(done(await one("k20")).duplicate).toBe(true);
  expect(done(await one("k3")).duplicate).toBe(false);
  await world.clock.advance(3_600_000 + 2 * 300_000);
  expect(await world.meta.list("broadcast/tasks/")).toEqual([]);
  await world.settle(broadcaster.close());
});

test("what is too much is refused, and what is wrong is refused by field", async () => {
  const world = createWorld();
  const { broadcaster } = await world.start({ maxTasks: 3 });
  world.onAppend = () => {
    throw noOwner();
  };
  const calls = [1, 2, 3].map(() => broadcaster.broadcast(world.request(["a"], [key("x")])));
  for (const call of calls) call.catch(() => undefined);
  await world.clock.advance(0);
  await expect(broadcaster.broadcast(world.request(["a"], [key("x")]))).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    retryable: true,
  });
  await world.settle(broadcaster.close());

  const next = await world.start();
  const header = new Uint8Array();
  const bad: [object, string][] = [
    [{ type: 99 }, "type"],
    [{ idempotencyKey: "x".repeat(513) }, "idempotencyKey"],
    [{ keys: [{ domain: "", key: "x", mode: "shared" }] }, "keys[0].domain"],
    [{ keys: [{ domain: "d", key: "x\0", mode: "shared" }] }, "keys[0].key"],
    [{ keys: Array.from({ length: 65 }, (_, i) => key(`k${i}`)) }, "keys"],
    [{ plan: () => ({ header, vchannels: [] }) }, "vchannels"],
    [{ plan: () => ({ header, vchannels: ["a", "a"] }) }, "vchannels"],
    [{ plan: () => ({ header, vchannels: [control] }) }, "vchannels[0]"],
    [{ plan: () => ({ header, vchannels: ["a", ""] }) }, "vchannels[1]"],
    [{ plan: () => ({ header: new Uint8Array(600_000), vchannels: ["a"] }) }, "message"],
  ];
  for (const [more, field] of bad) {
    const call = next.broadcaster.broadcast(world.request(["a"], [key("y")], more));
    await expect(call).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
  }
  await world.settle(next.broadcaster.close());
});

test("damaged records are reported with their key", async () => {
  const world = createWorld();
  await world.meta.put("broadcast/tasks/00000000000000000007", Uint8Array.of(1, 2, 3));
  await expect(world.start()).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringContaining("broadcast/tasks/00000000000000000007"),
  });
});
