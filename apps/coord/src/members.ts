/**
 * Which nodes live: leases that heartbeats renew, judged by the monotonic clock.
 *
 * @module
 */

import { type BalancerNode, compareText, type NodeRun, type Owner } from "@millrace/balancer";
import { type Clock, type Logger, MillraceError } from "@millrace/types";
import type { HeartbeatRequest } from "@millrace/types/gen";

/** Options of {@linkcode createMembers}. */
export interface MembersOptions {
  /** How long a node lives without a heartbeat, in milliseconds. */
  leaseMs: number;
  /** How many nodes there may be. Default 1000. */
  maxNodes?: number;
  /** Called when a node joins, dies, drains or moves. Must not throw. */
  onChange: () => void;
  clock: Clock;
  logger: Logger;
}

/** The nodes that live. */
export interface Members {
  /** In order of their ids. */
  alive(): readonly BalancerNode[];
  /**
   * Renews a lease or takes in a new run of a node; the run before it is dead from then on.
   * `INVALID_ARGUMENT` for a bad field, `PRECONDITION_FAILED` for a run that is dead already.
   */
  heartbeat(request: HeartbeatRequest): void;
  /** Takes a run of a node for dead although it says that it lives. Nothing if it is none of those. */
  expel(run: NodeRun, why: string): void;
  /** Takes an owner of before for alive for one lease, so that it may be heard first. */
  presume(owner: Owner): void;
  close(): void;
}

interface Member extends BalancerNode {
  /** Monotonic, in milliseconds. */
  expiresAt: number;
  end: AbortController;
}

/** How many dead runs of one node are remembered, to refuse their late heartbeats. */
const rememberedRuns = 8;
/** A timer that fires so late, in milliseconds, means that this process stood still. */
const stoodStillMs = 1000;

/** Creates an empty membership. */
export function createMembers(options: MembersOptions): Members {
  const { leaseMs, maxNodes = 1000, onChange, clock, logger } = options;
  const members = new Map<string, Member>();
  const dead = new Map<string, string[]>();
  let cancelSweep = (): void => undefined;

  const bury = (member: Member, why: string): void => {
    members.delete(member.nodeId);
    const runs = dead.get(member.nodeId) ?? [];
    dead.delete(member.nodeId);
    dead.set(member.nodeId, [...runs, member.incarnation].slice(-rememberedRuns));
    for (const oldest of dead.keys()) {
      if (dead.size <= maxNodes) break;
      dead.delete(oldest);
    }
    logger.info("node left", { node: member.nodeId, incarnation: member.incarnation, why });
    member.end.abort(new MillraceError("UNAVAILABLE", `node ${member.nodeId} is gone: ${why}`));
  };

  const admit = (owner: Owner, draining: boolean): void => {
    const end = new AbortController();
    members.set(owner.nodeId, {
      nodeId: owner.nodeId,
      incarnation: owner.incarnation,
      address: owner.address,
      draining,
      gone: end.signal,
      end,
      expiresAt: clock.monotonic() + leaseMs,
    });
    scheduleSweep();
  };

  const scheduleSweep = (): void => {
    cancelSweep();
    const first = Math.min(...[...members.values()].map((member) => member.expiresAt));
    if (!Number.isFinite(first)) return;
    cancelSweep = clock.schedule(Math.max(0, first - clock.monotonic()), () => sweep(first));
  };

  const sweep = (dueAt: number): void => {
    const now = clock.monotonic();
    if (now - dueAt > stoodStillMs) {
      // Nobody is to blame for our own pause: heartbeats that came meanwhile wait to be read, and
      // the next ones come within a third of a lease.
      for (const member of members.values()) {
        member.expiresAt = Math.max(member.expiresAt, now + leaseMs / 2);
      }
    }
    const expired = [...members.values()].filter((member) => member.expiresAt <= now);
    for (const member of expired) bury(member, "its lease ended");
    scheduleSweep();
    if (expired.length > 0) onChange();
  };

  const join = (request: HeartbeatRequest): void => {
    if (members.size >= maxNodes) {
      throw new MillraceError("RESOURCE_EXHAUSTED", `there are ${maxNodes} nodes already`);
    }
    admit(request, request.draining);
    logger.info("node joined", {
      node: request.nodeId,
      incarnation: request.incarnation,
      address: request.address,
    });
    onChange();
  };

  return {
    alive: () => [...members.values()].sort((a, b) => compareText(a.nodeId, b.nodeId)),
    heartbeat(request) {
      checkHeartbeat(request);
      const { nodeId, incarnation, address, draining } = request;
      if (dead.get(nodeId)?.includes(incarnation)) {
        throw new MillraceError(
          "PRECONDITION_FAILED",
          `this run of node ${nodeId} lost its lease; drop all pchannels and join under a new incarnation`,
          { field: "incarnation" },
        );
      }
      const member = members.get(nodeId);
      if (member === undefined || member.incarnation !== incarnation) {
        if (member) bury(member, "it was started again");
        join(request);
        return;
      }
      member.expiresAt = clock.monotonic() + leaseMs;
      if (member.draining === draining && member.address === address) return;
      member.draining = draining;
      member.address = address;
      onChange();
    },
    expel({ nodeId, incarnation }, why) {
      const member = members.get(nodeId);
      if (member?.incarnation !== incarnation) return;
      bury(member, why);
      scheduleSweep();
      onChange();
    },
    presume(owner) {
      if (!members.has(owner.nodeId)) admit(owner, false);
    },
    close() {
      cancelSweep();
      members.clear();
    },
  };
}

function checkHeartbeat({ nodeId, incarnation, address }: HeartbeatRequest): void {
  checkToken(nodeId, "node_id");
  checkToken(incarnation, "incarnation");
  if (!/^https?:\/\/[^\s]{1,1000}$/.test(address)) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      "address must be a base URL such as http://127.0.0.1:8531",
      { field: "address" },
    );
  }
}

function checkToken(value: string, field: string): void {
  if (/^[A-Za-z0-9._:@-]{1,255}$/.test(value)) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `${field} must be 1 to 255 letters, digits or any of . _ : @ -`,
    { field },
  );
}
