/**
 * A look now and then at whether nodes hold what they are thought to hold, so that a pchannel that a
 * node lost is found even if nobody writes to it.
 *
 * @module
 */

import type { Balancer } from "@millrace/balancer";
import { type Clock, type Logger, withTimeLimit } from "@millrace/types";
import type { Members } from "./members.ts";
import type { Nodes } from "./nodes.ts";

/** Options of {@linkcode startAudit}. */
export interface AuditOptions {
  balancer: Balancer;
  members: Members;
  nodes: Nodes;
  clock: Clock;
  logger: Logger;
  /** How often, in milliseconds. Default 10000. */
  intervalMs?: number;
}

/** The look that goes on until it is closed. */
export interface Audit {
  /** Ends it, and waits for the one under way. */
  close(): Promise<void>;
}

/** How long a node may take to say what it holds, in milliseconds. */
const answerMs = 2000;

/** Starts it. A pchannel that its owner does not name twice in a row is marked unavailable. */
export function startAudit(options: AuditOptions): Audit {
  const { balancer, members, nodes, clock, logger, intervalMs = 10_000 } = options;
  const closing = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let missing = new Set<string>();
  let cancel = (): void => undefined;

  /** What the owner of these pchannels should hold and does not, as `name@term`. */
  const missingAt = async (address: string, expected: readonly string[]): Promise<string[]> => {
    try {
      const wals = await withTimeLimit(clock, answerMs, closing.signal, (signal) =>
        nodes.collectStatus(address, signal),
      );
      const held = new Set(wals.map(({ name, term }) => `${name}@${term}`));
      return expected.filter((pchannel) => !held.has(pchannel));
    } catch (error) {
      // Whether it lives is for its lease to say.
      logger.debug("a node did not say what it holds", { address, error });
      return [];
    }
  };

  const look = async (): Promise<void> => {
    const assigned = balancer.records().filter(({ state }) => state === "assigned");
    const found = await Promise.all(
      members.alive().map(({ nodeId, incarnation, address }) => {
        const own = assigned.filter(
          ({ owner }) => owner?.nodeId === nodeId && owner.incarnation === incarnation,
        );
        return missingAt(
          address,
          own.map(({ name, term }) => `${name}@${term}`),
        );
      }),
    );
    const before = missing;
    missing = new Set(found.flat());
    for (const { name, term } of assigned) {
      const key = `${name}@${term}`;
      if (!missing.has(key) || !before.has(key) || closing.signal.aborted) continue;
      logger.warn("a node lost a pchannel", { pchannel: name, term });
      await balancer.markUnavailable(name, term);
    }
  };

  const next = (): void => {
    cancel = clock.schedule(intervalMs, () => {
      running = look()
        .catch((error: unknown) => logger.warn("looking at what nodes hold failed", { error }))
        .then(() => {
          if (!closing.signal.aborted) next();
        });
    });
  };
  next();

  return {
    async close() {
      closing.abort();
      cancel();
      await running;
    },
  };
}
