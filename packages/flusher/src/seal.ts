/**
 * When growing rows are sealed, to be written to the table.
 *
 * @module
 */

import type { Random } from "@millrace/types";

/** Bounds on what grows. Reaching any of them seals all growing rows of a vchannel. */
export interface SealLimits {
  /** Encoded bytes of a vchannel. Default 64 MiB. */
  bytes: number;
  /** Rows of a vchannel. Default 1000000. */
  rows: number;
  /** Age of the oldest row in milliseconds, less up to a tenth, by chance. Default 600000. */
  ageMs: number;
  /** Milliseconds since the newest row. Default 60000. */
  idleMs: number;
}

/** The defaults of {@linkcode SealLimits}. */
export const defaultSealLimits: SealLimits = {
  bytes: 64 * 1024 * 1024,
  rows: 1_000_000,
  ageMs: 600_000,
  idleMs: 60_000,
};

/** Why rows were sealed. */
export type SealReason = "bytes" | "rows" | "age" | "idle" | "manual" | "pressure";

/** What is known of a vchannel's growing rows. Times are of a monotonic clock, in milliseconds. */
export interface GrowthStats {
  bytes: number;
  rows: number;
  /** When the first of them was read. */
  since: number;
  /** When the last of them was read. */
  touched: number;
}

/**
 * The limits with an age of their own, so that vchannels which began together are not all sealed at
 * the same moment.
 */
export function withJitter(limits: () => SealLimits, random: Random): () => SealLimits {
  const share = 1 - 0.1 * random.next();
  return () => {
    const now = limits();
    return { ...now, ageMs: now.ageMs * share };
  };
}

/** Why the rows are due, or `undefined` if they may grow on. */
export function sealReason(
  stats: GrowthStats,
  limits: SealLimits,
  now: number,
): SealReason | undefined {
  if (stats.rows === 0) return undefined;
  if (stats.bytes >= limits.bytes) return "bytes";
  if (stats.rows >= limits.rows) return "rows";
  if (now - stats.since >= limits.ageMs) return "age";
  if (now - stats.touched >= limits.idleMs) return "idle";
  return undefined;
}
