/**
 * A pchannel as the balancer works on it.
 *
 * @module
 */

import { type Owner, uninitialized } from "./channel-state.ts";
import type { SavedRecord } from "./mover.ts";

/** A pchannel as the balancer works on it. */
export interface Channel extends SavedRecord {
  /** The operation that is under way, if there is one. */
  operation: Promise<void> | undefined;
  /** The node that operation takes it to, or leaves it at. */
  target: Owner | undefined;
  /** Failed attempts in a row. */
  failures: number;
  /** Not to be tried before this monotonic time. */
  notBefore: number;
  /** When it was assigned last, by the monotonic clock. */
  assignedAt: number;
  cancelRetry: () => void;
}

/** A pchannel of which nothing is known yet. */
export function newChannel(name: string): Channel {
  return {
    record: uninitialized(name),
    revision: null,
    stale: true,
    floor: 0,
    operation: undefined,
    target: undefined,
    failures: 0,
    notBefore: 0,
    assignedAt: Number.NEGATIVE_INFINITY,
    cancelRetry: () => undefined,
  };
}
