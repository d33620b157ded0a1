/**
 * A look now and then at whether nodes hold what they are thought to hold, so that a pchannel that a
 * node lost is found even if nobody writes to it, and so is a node that says that it lives but cannot be
 * called.
 *
 * @module
 */

import { type Balancer, isSameRun } from "@millrace/balancer";
import { type Clock, type Logger, withTimeLimit } from "@millrace/types";
import type { WalStatus } from "@millrace/types/gen";
import type { Members } from "./members.ts";
import type { Nodes } from "./nodes.ts";
import type { RecoveryLags } from "./recovery-lags.ts";

/** Options of {@linkcode startAudit}. */
export interface AuditOptions {
  balancer: Balancer;
  members: Members;
  nodes: Nodes;
  /** Is told what is heard. */
  lags: RecoveryLags;
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
/** So many looks in a row without an answer, and a node counts as dead. */
const maxUnheard = 3;

/**
 * Starts it. A pchannel that its owner does not name twice in a row is marked unavailable; a node that does
 * not answer three times in a row counts as dead, so that its pchannels move.
 */
export function startAudit(options: AuditOptions): Audit {
  const { balancer, members, nodes, lags, clock, logger, intervalMs = 10_000 } = options;
  const closing = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let missing = new Set<string>();
  /** How often runs of nodes did not answer in a row, by incarnation. */
  let unheard = new Map<string, number>();
  let cancel = (): void => undefined;

  /** What a node holds; `undefined` if it does not say. */
  const ask = async (address: string): Promise<WalStatus[] | undefined> => {
    try {
      return await withTimeLimit(clock, answerMs, closing.signal, (signal) =>
        nodes.collectStatus(address, signal),
      );
    } catch (error) {
      logger.debug("a node did not say what it holds", { address, error });
      return undefined;
    }
  };

  const look = async (): Promise<void> => {
    const assigned = balancer.records().filter(({ state }) => state === "assigned");
    const heard: WalStatus[] = [];
    const unheardBefore = unheard;
    unheard = new Map();
    const found = await Promise.all(
      members.alive().map(async (member) => {
        const wals = await ask(member.address);
        if (closing.signal.aborted) return [];
        if (wals === undefined) {
          const times = (unheardBefore.get(member.incarnation) ?? 0) + 1;
          unheard.set(member.incarnation, times);
          if (times >= maxUnheard) members.expel(member, "it cannot be called");
          return [];
        }
        heard.push(...wals);
        const held = new Set(wals.map(({ name, term }) => `${name}@${term}`));
        return assigned
          .filter(({ owner }) => isSameRun(owner, member))
          .map(({ name, term }) => `${name}@${term}`)
          .filter((pchannel) => !held.has(pchannel));
      }),
    );
    lags.hear(heard);
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
