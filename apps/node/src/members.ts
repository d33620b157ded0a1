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

/** A pchannel that a node holds. */
export interface HeldPchannel {
  readonly name: string;
  readonly term: number;
}

/** Options of {@linkcode createMembership}. */
export interface MembershipOptions {
  nodeId: string;
  /** Where the node is reached: a base URL. */
  address: string;
  membership: Client<typeof MembershipService>;
  /** The pchannels that the node holds, and the terms at which it does. */
  held(): readonly HeldPchannel[];
  /** Gives a pchannel up if it is held at this term or a lower one. */
  drop(name: string, term: number): Promise<void>;
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
 * Heartbeats of a node. It goes on serving while no coordinator leads, for any time, and the next one finds
 * its pchannels where they were. Logs are fenced by their medium, so that it does no harm if they were
 * given to others meanwhile: it gives them up when it hears so. When it is told that it counts as dead,
 * it gives up all that it holds and joins under a new incarnation.
 */
export function createMembership(options: MembershipOptions): Membership {
  const { nodeId, address, membership, held, drop, dropAll, clock, random, logger } = options;
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
    const heldThen = held().map(({ name, term }) => ({ name, term }));
    // A coordinator that stands still must not keep the node from another one.
    const answer = await withTimeLimit(clock, leaseMs / 3, signal, (limit) =>
      membership.heartbeat({ nodeId, incarnation, address, draining }, { signal: limit }),
    );
    heardAt = sentAt;
    leaseMs = answer.leaseMs || defaultLeaseMs;
    joined();
    if (draining && answer.drained) drained();
    if (!answer.unassigned || heldThen.length === 0) return;
    logger.warn("pchannels were given to others while the node was unheard", {
      ...{ nodeId, pchannels: heldThen.map(({ name, term }) => `${name}@${term}`) },
    });
    await Promise.all(heldThen.map(({ name, term }) => drop(name, term)));
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
