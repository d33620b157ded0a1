import { createClient } from "@connectrpc/connect";
import { MillraceError, silentLogger } from "@millrace/types";
import { MembershipService } from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createMembership } from "../src/members.ts";
import { createFakeCoord } from "./support.ts";

function setUp() {
  const clock = createVirtualClock();
  const coord = createFakeCoord(clock);
  const events: string[] = [];
  const held = new Map<string, number>();
  const membership = createMembership({
    nodeId: "node-1",
    address: "http://node-1",
    membership: createClient(MembershipService, coord.transport),
    held: () => [...held].map(([name, term]) => ({ name, term })),
    async drop(name, term) {
      events.push(`dropped ${name}@${term}`);
      held.delete(name);
    },
    async dropAll() {
      events.push(`dropped after ${coord.heartbeats.length}`);
    },
    clock,
    random: createSeededRandom(1),
    logger: silentLogger,
  });
  return { clock, coord, events, held, membership };
}

const away = (): void => {
  throw new MillraceError("UNAVAILABLE", "away");
};

test("heartbeats come every third of the lease, under one incarnation", async () => {
  const { clock, coord, membership } = setUp();
  const joined = membership.join();
  await clock.advance(0);
  await joined;
  await clock.advance(10_000);
  expect(coord.heartbeats.length).toBe(11);
  expect(new Set(coord.heartbeats.map((beat) => beat.incarnation)).size).toBe(1);
  await membership.close();
  expect(clock.pending).toBe(0);
});

test("an absence of coordinators, however long, changes nothing", async () => {
  const { clock, coord, events, membership } = setUp();
  void membership.join();
  await clock.advance(1000);
  coord.fail = away;
  await clock.advance(600_000);
  coord.fail = undefined;
  await clock.advance(5000);
  expect(new Set(coord.heartbeats.map((beat) => beat.incarnation)).size).toBe(1);
  expect(events).toEqual([]);
  await membership.close();
});

test("a coordinator that hangs is given up in time for another one to be asked", async () => {
  const { clock, coord, membership } = setUp();
  void membership.join();
  await clock.advance(0);
  let asked = 0;
  coord.fail = () => {
    asked += 1;
    return new Promise<void>(() => undefined);
  };
  await clock.advance(3000);
  expect(asked).toBeGreaterThan(1);
  coord.fail = undefined;
  await clock.advance(1500);
  expect(coord.heartbeats.length).toBeGreaterThan(1);
  await membership.close();
});

test("what was given to others while the node was unheard is given up, and no more", async () => {
  const { clock, coord, events, held, membership } = setUp();
  void membership.join();
  await clock.advance(0);
  held.set("p-0", 3);
  coord.fail = () => {
    // It is assigned while the answer is under way.
    held.set("p-1", 7);
  };
  coord.unassigned = true;
  await clock.advance(1100);
  coord.fail = undefined;
  coord.unassigned = false;
  await clock.advance(3000);
  expect(events).toEqual(["dropped p-0@3"]);
  expect([...held]).toEqual([["p-1", 7]]);
  expect(new Set(coord.heartbeats.map((beat) => beat.incarnation)).size).toBe(1);
  await membership.close();
});

test("a coordinator that holds the run for dead makes it start over", async () => {
  const { clock, coord, events, membership } = setUp();
  void membership.join();
  await clock.advance(0);
  let refusals = 1;
  coord.fail = () => {
    if (refusals-- > 0) throw new MillraceError("PRECONDITION_FAILED", "this run is dead");
  };
  await clock.advance(2000);
  expect(events).toEqual(["dropped after 1"]);
  expect(new Set(coord.heartbeats.map((beat) => beat.incarnation)).size).toBe(2);
  await membership.close();
});

test("draining says so at once and waits until all has moved, or for so long", async () => {
  const { clock, coord, membership } = setUp();
  coord.drained = false;
  void membership.join();
  await clock.advance(100);
  let done = false;
  const drained = membership.drain(5000).then(() => {
    done = true;
  });
  await clock.advance(1000);
  expect(coord.heartbeats.at(-1)?.draining).toBe(true);
  expect(done).toBe(false);
  coord.drained = true;
  await clock.advance(200);
  await drained;

  coord.drained = false;
  const bounded = membership.drain(5000);
  await clock.advance(5000);
  await bounded;
  await membership.close();
});
