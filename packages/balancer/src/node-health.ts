/**
 * Which nodes fail at what they are given. Without this a broken node would draw every pchannel: it
 * holds none, so it always looks like the one with most room.
 *
 * @module
 */

import { backoffDelay, type Clock, MillraceError, type Random } from "@millrace/types";

/** Remembers failed Assigns by run of a node. */
export interface NodeHealth {
  /** `false` while the run should be given nothing new. */
  accepts(incarnation: string): boolean;
  succeeded(incarnation: string): void;
  failed(incarnation: string, error: unknown): void;
}

const initialMs = 10_000;
const maxMs = 600_000;
const maxRemembered = 1000;

/** Errors that are about the pchannel or its term, not about the node. */
const notTheNode = ["CHANNEL_FENCED", "IGNORED_OPERATION", "DATA_LOSS", "CANCELLED"] as const;

/** Creates a memory of failures: 10 s after the first in a row, doubled by each, to 10 min. */
export function createNodeHealth(clock: Clock, random: Random): NodeHealth {
  const ailing = new Map<string, { failures: number; until: number }>();
  return {
    accepts: (incarnation) => (ailing.get(incarnation)?.until ?? 0) <= clock.monotonic(),
    succeeded: (incarnation) => void ailing.delete(incarnation),
    failed(incarnation, error) {
      if (MillraceError.is(error, ...notTheNode)) return;
      const known = ailing.get(incarnation);
      const now = clock.monotonic();
      // Pchannels that fail together count as one failure.
      if (known && known.until > now) return;
      const failures = (known?.failures ?? 0) + 1;
      const wait = backoffDelay(failures - 1, random, { initialMs, maxMs });
      ailing.delete(incarnation);
      ailing.set(incarnation, { failures, until: now + wait });
      for (const oldest of ailing.keys()) {
        if (ailing.size <= maxRemembered) break;
        ailing.delete(oldest);
      }
    },
  };
}
