import { MillraceError } from "@millrace/types";
import type { DiscoverResponse } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { createCluster, type RunningCoord } from "./cluster.ts";

const terms = (response: DiscoverResponse | undefined) =>
  Object.fromEntries(
    response?.nodes.map((n) => [n.nodeId, n.pchannels.map((p) => `${p.name}@${p.term}`)]) ?? [],
  );

/** Reads the Discover stream of a coordinator until the signal is aborted. */
function discover(coord: RunningCoord, signal: AbortSignal) {
  const seen: DiscoverResponse[] = [];
  const done = (async () => {
    for await (const response of coord.assignment.discover({}, { signal })) seen.push(response);
  })();
  return { seen, done };
}

test("nodes join, pchannels are spread, and Discover says so at once and on each change", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const stop = new AbortController();
  const { seen, done } = discover(coord, stop.signal);
  await cluster.until("first snapshot", () => seen.length === 1);
  expect(terms(seen[0])).toEqual({});
  cluster.startNode("a");
  cluster.startNode("b");
  await cluster.assigned();
  await cluster.until("assignments", () => terms(seen.at(-1)).b?.length === 2);
  expect(Object.values(terms(seen.at(-1))).flat().length).toBe(4);
  expect(seen.at(-1)?.nodes[0]?.address).toBe("http://a.test:1");
  const versions = seen.map((s) => s.version?.revision ?? 0n);
  expect(versions).toEqual([...new Set(versions)].sort((a, b) => (a < b ? -1 : 1)));

  const before = seen.length;
  await cluster.advance(3500);
  expect(seen.length - before).toBe(3);
  stop.abort();
  await expect(done).rejects.toMatchObject({ code: "CANCELLED" });
  await coord.close();
});

test("a slow reader of Discover gets the latest state, not each one in between", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const stop = new AbortController();
  const stream = coord.assignment.discover({}, { signal: stop.signal })[Symbol.asyncIterator]();
  await cluster.settle(stream.next());
  for (const id of ["a", "b", "c", "d"]) cluster.startNode(id);
  await cluster.assigned();
  await cluster.advance(1000);
  let last: DiscoverResponse | undefined;
  // One more snapshot may have been on its way before the reader paused.
  for (let i = 0; i < 2; i++) last = (await cluster.settle(stream.next())).value;
  expect(Object.values(terms(last)).map((held) => held.length)).toEqual([1, 1, 1, 1]);
  stop.abort();
  await coord.close();
});

test("a node that misses its lease is dead: its pchannels move within half a second", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const a = cluster.startNode("a");
  const b = cluster.startNode("b");
  await cluster.assigned();
  const kept = new Map(b.held);
  a.dead = true;
  await cluster.advance(3900);
  expect(b.held).toEqual(kept);
  await cluster.advance(1600);
  expect(b.held.size).toBe(4);
  for (const [name, term] of kept) expect(b.held.get(name)).toBe(term);

  const request = { nodeId: "a", incarnation: a.incarnation, address: a.address };
  await expect(coord.membership.heartbeat(request)).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    field: "incarnation",
  });
  cluster.startNode("a");
  await cluster.advance(1000);
  expect(b.held.size).toBe(2);
  await coord.close();
});

test("a node that was started again gets pchannels at new terms, without waiting for its lease", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const first = cluster.startNode("a");
  await cluster.assigned();
  first.dead = true;
  const second = cluster.startNode("a");
  await cluster.advance(200);
  expect([...second.held.values()]).toEqual([2, 2, 2, 2]);
  await coord.close();
});

test("a draining node is emptied and told so", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const a = cluster.startNode("a");
  const b = cluster.startNode("b");
  await cluster.assigned();
  a.draining = true;
  await cluster.until("a is drained", () => a.drained);
  expect(a.held.size).toBe(0);
  expect(b.held.size).toBe(4);
  // The last one may go too, though nobody can take over.
  b.draining = true;
  await cluster.until("b is drained", () => b.drained);
  expect(b.held.size).toBe(0);
  a.dead = true;
  b.dead = true;
  const c = cluster.startNode("c");
  await cluster.until("c has all", () => c.held.size === 4);
  await coord.close();
});

test("a restarted coordinator leaves living owners alone and moves what dead ones had", async () => {
  const cluster = createCluster();
  const first = await cluster.startCoord();
  const a = cluster.startNode("a");
  const b = cluster.startNode("b");
  await cluster.assigned();
  const before = new Map(a.held);
  await first.crash();
  b.dead = true;
  const second = await cluster.startCoord();
  await cluster.advance(4000);
  expect(a.held).toEqual(before);
  await cluster.advance(2000);
  expect(a.held.size).toBe(4);
  for (const [name, term] of before) expect(a.held.get(name)).toBe(term);
  await second.close();
});

test("a node that was started again while no coordinator led gets all at new terms", async () => {
  const cluster = createCluster();
  const first = await cluster.startCoord();
  const old = cluster.startNode("a");
  await cluster.assigned();
  const { incarnation, address } = old;
  await first.crash();
  old.dead = true;
  const fresh = cluster.startNode("a");
  const second = await cluster.startCoord();
  // The lease that the old run is presumed to have is not waited for.
  await cluster.until("all at the new run", () => fresh.held.size === 4);
  expect([...fresh.held.values()].every((term) => term > 1)).toBe(true);
  const late = second.membership.heartbeat({ nodeId: "a", incarnation, address });
  await expect(late).rejects.toMatchObject({ code: "PRECONDITION_FAILED", field: "incarnation" });
  await second.close();
});

test("a run that was taken for dead is told by the next coordinator that nothing is its own", async () => {
  const cluster = createCluster();
  const first = await cluster.startCoord();
  const lost = cluster.startNode("a");
  await cluster.assigned();
  const { incarnation, address } = lost;
  lost.dead = true;
  cluster.startNode("b");
  await cluster.advance(7000);
  const beat = (coord: RunningCoord) =>
    coord.membership.heartbeat({ nodeId: "a", incarnation, address });
  await expect(beat(first)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  await first.crash();
  const second = await cluster.startCoord();
  expect(await beat(second)).toMatchObject({ unassigned: true });
  await second.close();
});

test("reports of terms of before a failover are ignored, and many of one failure are one", async () => {
  const cluster = createCluster();
  const first = await cluster.startCoord();
  const a = cluster.startNode("a");
  await cluster.assigned();
  const name = "millrace-dml_0";
  const report = (coord: RunningCoord, term: bigint) =>
    coord.assignment.reportError({ pchannel: { name, term } });
  a.held.delete(name);
  await cluster.settle(report(first, 1n));
  await cluster.until("assigned anew", () => a.held.get(name) === 2);
  await first.crash();
  const second = await cluster.startCoord();
  a.held.delete(name);
  await cluster.settle(report(second, 1n));
  await cluster.advance(100);
  expect(a.held.has(name)).toBe(false);
  await cluster.settle(Promise.all(Array.from({ length: 20 }, () => report(second, 2n))));
  await cluster.until("assigned anew", () => a.held.has(name));
  await cluster.advance(1000);
  expect(a.held.get(name)).toBe(3);
  await second.close();
});

test("each coordinator has a higher epoch than the one before", async () => {
  const cluster = createCluster();
  const epochs: bigint[] = [];
  for (let i = 0; i < 3; i++) {
    const coord = await cluster.startCoord();
    const stream = coord.assignment.discover({})[Symbol.asyncIterator]();
    const { value } = await cluster.settle(stream.next());
    epochs.push(value.version.coordinator);
    await coord.crash();
  }
  expect(epochs).toEqual([1n, 2n, 3n]);
});

test("a report is verified with the owner: a well one stays, one that lost the pchannel is replaced", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const a = cluster.startNode("a");
  await cluster.assigned();
  const name = "millrace-dml_0";
  await cluster.settle(coord.assignment.reportError({ pchannel: { name, term: 1n } }));
  await cluster.advance(100);
  expect(a.held.get(name)).toBe(1);

  a.held.delete(name);
  await cluster.settle(coord.assignment.reportError({ pchannel: { name, term: 9n } }));
  await cluster.advance(100);
  expect(a.held.has(name)).toBe(false);
  await cluster.settle(coord.assignment.reportError({ pchannel: { name, term: 1n } }));
  await cluster.advance(100);
  expect(a.held.get(name)).toBe(2);
  await coord.close();
});

test("a pchannel that its owner lost is found although nobody reports it", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const a = cluster.startNode("a");
  await cluster.assigned();
  await cluster.advance(60_000);
  expect([...a.held.values()]).toEqual([1, 1, 1, 1]);
  a.held.delete("millrace-dml_2");
  await cluster.advance(21_000);
  expect(a.held.get("millrace-dml_2")).toBe(2);
  await coord.close();
});

test("a node that says that it lives but cannot be called counts as dead", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const well = cluster.startNode("a");
  const deaf = cluster.startNode("b");
  await cluster.until("spread", () => well.held.size === 2 && deaf.held.size === 2);
  const { incarnation, address } = deaf;
  deaf.dead = true;
  let refused: unknown;
  for (let ms = 0; ms < 40_000 && !refused; ms += 1000) {
    const beat = coord.membership.heartbeat({ nodeId: "b", incarnation, address });
    await beat.catch((error) => {
      refused = error;
    });
    // Twice is not enough.
    if (ms < 20_000) expect([refused, well.held.size]).toEqual([undefined, 2]);
    await cluster.advance(1000);
  }
  expect(refused).toMatchObject({ code: "PRECONDITION_FAILED" });
  expect(well.held.size).toBe(4);
  await coord.close();
});

test("bad heartbeats and reports are refused by field", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  const good = { nodeId: "a", incarnation: "r", address: "http://a" };
  const bad: [object, string][] = [
    [{ ...good, nodeId: "" }, "node_id"],
    [{ ...good, nodeId: "a/b" }, "node_id"],
    [{ ...good, nodeId: "a".repeat(256) }, "node_id"],
    [{ ...good, incarnation: "" }, "incarnation"],
    [{ ...good, address: "" }, "address"],
    [{ ...good, address: "a:1" }, "address"],
    [{ ...good, address: "ftp://a" }, "address"],
  ];
  for (const [request, field] of bad) {
    await expect(coord.membership.heartbeat(request)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field,
    });
  }
  for (const pchannel of [undefined, { name: "nope", term: 1n }]) {
    const report = coord.assignment.reportError(pchannel ? { pchannel } : {});
    await expect(report).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      field: "pchannel.name",
    });
  }
  await coord.close();
});

test("cluster status shows nodes, pchannels and what their owners say", async () => {
  const cluster = createCluster();
  const coord = await cluster.startCoord();
  cluster.startNode("a");
  const mute = cluster.startNode("b");
  await cluster.assigned();
  await cluster.advance(100);
  mute.dead = true;
  const status = await cluster.settle(coord.admin.getClusterStatus({}));
  expect(status.nodes.map((n) => [n.nodeId, n.alive, n.pchannels])).toEqual([
    ["a", true, 2],
    ["b", true, 2],
  ]);
  const heard = status.pchannels.map((p) => [p.name, p.state, p.nodeId, p.wal !== undefined]);
  expect(heard).toEqual(
    status.pchannels.map((p, i) => [`millrace-dml_${i}`, "assigned", p.nodeId, p.nodeId === "a"]),
  );
  await coord.close();
});

test("one coordinator leads, the others say where it is and follow when it gives up", async () => {
  const cluster = createCluster();
  const options = { exclusive: false };
  const first = await cluster.startCoord({ ...options, address: "http://first.test" });
  const second = await cluster.startCoord({ ...options, address: "http://second.test" });
  expect([first.isActive(), second.isActive()]).toEqual([true, false]);
  const refused = { code: "UNAVAILABLE", expected: "http://first.test", retryable: true };
  await expect(second.allocator.allocateIds({ count: 1 })).rejects.toMatchObject(refused);
  const stream = second.assignment.discover({})[Symbol.asyncIterator]();
  await expect(stream.next()).rejects.toMatchObject(refused);
  await first.close();
  await cluster.until("the next one leads", second.isActive);
  await cluster.settle(second.allocator.allocateIds({ count: 1 }));
  await second.close();
  expect(cluster.clock.pending).toBe(0);
});

test("a coordinator waits for a MetaStore that is away when it starts", async () => {
  const cluster = createCluster();
  const { get } = cluster.meta;
  cluster.meta.get = async () => {
    throw new MillraceError("UNAVAILABLE", "the store is away");
  };
  const starting = cluster.startCoord({ exclusive: false });
  await cluster.advance(10_000);
  cluster.meta.get = get;
  const coord = await cluster.settle(starting);
  expect(coord.isActive()).toBe(true);
  await coord.close();
});

test("a coordinator that has lost its lead stops at once, and leads again when it can", async () => {
  const cluster = createCluster();
  const ends: AbortController[] = [];
  cluster.meta.lease = async () => {
    const end = new AbortController();
    ends.push(end);
    return {
      signal: end.signal,
      isHeld: () => !end.signal.aborted,
      release: async () => end.abort(),
    };
  };
  const coord = await cluster.startCoord({ exclusive: false });
  await cluster.settle(coord.allocator.allocateIds({ count: 1 }));
  const stream = coord.assignment.discover({})[Symbol.asyncIterator]();
  const before = await stream.next();
  ends[0]?.abort(new MillraceError("UNAVAILABLE", "lease lost"));
  await expect(coord.allocator.allocateIds({ count: 1 })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    retryable: true,
  });
  expect(await cluster.settle(stream.next())).toMatchObject({ done: true });
  await cluster.until("it leads again", coord.isActive);
  const again = await coord.assignment.discover({})[Symbol.asyncIterator]().next();
  expect(again.value?.version?.coordinator).toBe((before.value?.version?.coordinator ?? 0n) + 1n);
  await coord.close();
});
