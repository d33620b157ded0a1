/**
 * One active coordinator for each MetaStore.
 *
 * @module
 */

import type { Lease, MetaStore } from "@millrace/storage";
import { type Clock, delay, MillraceError } from "@millrace/types";
import { createCell } from "./cell.ts";

const leaseKey = "coord/active";
const epochKey = "coord/epoch";
const pollMs = 200;

/** Options of {@linkcode takeLeadership}. */
export interface LeadershipOptions {
  meta: MetaStore;
  /** How long the lease holds without renewal, in milliseconds. */
  leaseMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * Takes the lease. If another holds it, waits as long as the lease of one that died can last, then
 * fails with `PRECONDITION_FAILED`: there is a living one.
 */
export async function takeLeadership(options: LeadershipOptions): Promise<Lease> {
  const { meta, leaseMs, clock, signal } = options;
  const value = new TextEncoder().encode("coordinator");
  const until = clock.monotonic() + leaseMs + pollMs;
  for (;;) {
    const lease = await meta.lease(leaseKey, { value, ttlMs: leaseMs });
    if (lease) return lease;
    if (clock.monotonic() >= until) {
      throw new MillraceError(
        "PRECONDITION_FAILED",
        `another coordinator is active on ${meta.name}; stop it first`,
      );
    }
    await delay(clock, pollMs, signal);
  }
}

/** The number of this coordinator among all that were active on the store, from 1; saved. */
export async function nextEpoch(meta: MetaStore): Promise<number> {
  const cell = createCell(meta, epochKey);
  const saved = await cell.read();
  const last = saved ? Number(new TextDecoder().decode(saved)) : 0;
  if (!Number.isSafeInteger(last) || last < 0) {
    throw new MillraceError("DATA_LOSS", `the metadata at ${epochKey} is not a number`);
  }
  await cell.write(new TextEncoder().encode(String(last + 1)));
  return last + 1;
}
