import { create } from "@bufbuild/protobuf";
import { type Clock, silentLogger } from "@millrace/types";
import { HeartbeatRequestSchema } from "@millrace/types/gen";
import { createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createMembers } from "../src/members.ts";

const logger = silentLogger;
const beat = (nodeId: string, incarnation = "r", draining = false) =>
  create(HeartbeatRequestSchema, { nodeId, incarnation, address: "http://n", draining });

test("a pause of this process is not held against nodes", async () => {
  const time = createVirtualClock();
  let paused = 0;
  const clock: Clock = { ...time, monotonic: () => time.monotonic() + paused };
  const members = createMembers({ leaseMs: 5000, onChange: () => undefined, clock, logger });
  members.heartbeat(beat("a"));
  await time.advance(4000);
  // Time went on for a minute while no timer could run.
  paused = 60_000;
  await time.advance(1000);
  expect(members.alive().map((m) => m.nodeId)).toEqual(["a"]);
  members.heartbeat(beat("a"));
  await time.advance(4900);
  expect(members.alive().length).toBe(1);
  await time.advance(200);
  expect(members.alive()).toEqual([]);
  members.close();
});

test("a jump of the wall clock ends no lease", async () => {
  const clock = createVirtualClock();
  const members = createMembers({ leaseMs: 5000, onChange: () => undefined, clock, logger });
  members.heartbeat(beat("a"));
  clock.jump(3_600_000);
  await clock.advance(4900);
  expect(members.alive().length).toBe(1);
  await clock.advance(200);
  expect(members.alive().length).toBe(0);
  members.close();
});

test("a run that was followed by another is dead, told so by its signal, and stays dead", () => {
  const clock = createVirtualClock();
  let changes = 0;
  const onChange = (): void => {
    changes += 1;
  };
  const members = createMembers({ leaseMs: 5000, onChange, clock, logger });
  members.heartbeat(beat("a", "first"));
  const gone = members.alive()[0]?.gone;
  members.heartbeat(beat("a", "first"));
  expect(changes).toBe(1);
  members.heartbeat(beat("a", "second"));
  expect(gone?.aborted).toBe(true);
  expect(() => members.heartbeat(beat("a", "first"))).toThrow("join under a new incarnation");
  members.heartbeat(beat("a", "second", true));
  expect(members.alive().map((m) => [m.incarnation, m.draining])).toEqual([["second", true]]);
  expect(changes).toBe(3);
  members.close();
});

test("there is a limit of nodes, and memory of dead runs is bounded", () => {
  const clock = createVirtualClock();
  const onChange = (): void => undefined;
  const members = createMembers({ leaseMs: 5000, maxNodes: 2, onChange, clock, logger });
  members.heartbeat(beat("a"));
  members.heartbeat(beat("b"));
  expect(() => members.heartbeat(beat("c"))).toThrow("2 nodes already");
  for (let run = 0; run < 20; run++) members.heartbeat(beat("a", `r-${run}`));
  expect(() => members.heartbeat(beat("a", "r-18"))).toThrow("lost its lease");
  members.heartbeat(beat("a", "r-1"));
  members.close();
});
