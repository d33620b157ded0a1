/**
 * A node's membership: heartbeats, from joining to leaving.
 *
 * @module
 */

import type { Client } from "@connectrpc/connect";
import {
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
  withTimeLimit,
} from "@millrace/types";
import type { MembershipService } from "@millrace/types/gen";

/** Options of {@linkcode createMembership}. */
export interface MembershipOptions {
  nodeId: string;
  /** Where the node is reached: a base URL. */
  address: string;
  membership: Client<typeof MembershipService>;
  /** Gives up everything that was assigned, before the node joins anew. */
  dropAll(): Promise<void>;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** A node's membership. */
export interface Membership {
  /** Begins; resolves when the node has joined. */
  join(): Promise<void>;
  /** Asks that all be moved away; resolves when it is, or after `maxMs`. */
  drain(maxMs: number): Promise<void>;
  /** Ends the heartbeats. */
  close(): Promise<void>;
}

/** What is done until the coordinator has said how long a lease is. */
const defaultLeaseMs = 3000;
/** While something is waited for. */
const hurryMs = 100;

/**
 * Heartbeats of a node. It goes on serving while the coordinator is away: logs are fenced by their
 * medium, so that it does no harm. When it was unheard for longer than its lease, or is told that it
 * counts as dead, it gives up all that it holds and joins under a new incarnation.
 */
export function createMembership(options: MembershipOptions): Membership {
  const { nodeId, address, membership, dropAll, clock, random, logger } = options;
  const ending = new AbortController();
  const { signal } = ending;
  let incarnation = newIncarnation(random);
  let leaseMs = defaultLeaseMs;
  let heardAt: number | undefined;
  let draining = false;
  let hurry: () => void = () => undefined;
  let joined: () => void = () => undefined;
  let drained: () => void = () => undefined;
  let running: Promise<void> | undefined;

  const rejoin = async (why: string): Promise<void> => {
    logger.warn("lease lost, joining anew", { nodeId, incarnation, why });
    await dropAll();
    incarnation = newIncarnation(random);
    heardAt = undefined;
  };

  const beat = async (): Promise<void> => {
    const sentAt = clock.monotonic();
    const lost = heardAt !== undefined && sentAt - heardAt > leaseMs;
    const answer = await withTimeLimit(clock, leaseMs, signal, (limit) =>
      membership.heartbeat({ nodeId, incarnation, address, draining }, { signal: limit }),
    );
    if (lost) {
      await rejoin("it was not renewed in time");
      return;
    }
    heardAt = sentAt;
    leaseMs = answer.leaseMs || defaultLeaseMs;
    joined();
    if (draining && answer.drained) drained();
  };

  const loop = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted; ) {
      let pause = leaseMs / 3;
      try {
        await beat();
        failures = 0;
        // A new incarnation joins at once.
        if (heardAt === undefined) pause = 0;
        else if (draining) pause = Math.min(pause, hurryMs);
      } catch (error) {
        if (signal.aborted) return;
        const { code, message } = MillraceError.from(error);
        logger.warn("heartbeat failed", { nodeId, code, reason: message });
        if (code === "PRECONDITION_FAILED") await rejoin(message);
        // Often enough not to miss the end of an absence that the lease outlasts.
        pause = Math.min(leaseMs / 10, hurryMs * 2 ** failures++);
      }
      await pauseOrHurry(pause);
    }
  };

  const pauseOrHurry = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel = clock.schedule(ms, resolve);
      hurry = () => {
        cancel();
        resolve();
      };
      if (signal.aborted) hurry();
    });

  return {
    async join() {
      const done = new Promise<void>((resolve, reject) => {
        joined = resolve;
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      running ??= loop();
      await done;
    },
    async drain(maxMs) {
      if (!running || heardAt === undefined) return;
      draining = true;
      const done = new Promise<void>((resolve) => {
        drained = resolve;
      });
      hurry();
      const limit = new AbortController();
      const timeout = delay(clock, maxMs, limit.signal).catch(() => undefined);
      await Promise.race([done, timeout]);
      limit.abort();
    },
    async close() {
      ending.abort(new MillraceError("ON_SHUTDOWN", "the node is shutting down"));
      hurry();
      await running;
    },
  };
}

function newIncarnation(random: Random): string {
  return Array.from(random.bytes(12), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
