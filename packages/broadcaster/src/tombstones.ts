/**
 * Broadcasts that are over, kept for a while so that what comes late or twice is recognised.
 *
 * @module
 */

import type { Clock, Logger } from "@millrace/types";
import type { RecordCell } from "./record-cell.ts";
import { scopeOf, type Tombstone } from "./task-record.ts";

/** Options of {@linkcode createTombstones}. */
export interface TombstonesOptions {
  /** How many are kept. */
  max: number;
  /** How long each is kept, in milliseconds of the wall clock. */
  keepMs: number;
  clock: Clock;
  logger: Logger;
}

/** Broadcasts that are over. */
export interface Tombstones {
  add(tombstone: Tombstone, cell: RecordCell): void;
  has(id: bigint): boolean;
  /** The broadcast with an idempotency key in its scope. */
  find(scope: string): Tombstone | undefined;
  /** Removes those that are too old or too many, the oldest first. One call at a time. */
  sweep(signal: AbortSignal): Promise<void>;
  /** More are kept than should be. */
  readonly full: boolean;
}

/** Creates them. */
export function createTombstones(options: TombstonesOptions): Tombstones {
  const { max, keepMs, clock, logger } = options;
  // In the order in which they ended.
  const kept = new Map<bigint, { tombstone: Tombstone; cell: RecordCell }>();
  const byScope = new Map<string, Tombstone>();

  return {
    add(tombstone, cell) {
      kept.set(tombstone.id, { tombstone, cell });
      if (tombstone.idempotencyKey !== "") byScope.set(scopeOf(tombstone), tombstone);
    },
    has: (id) => kept.has(id),
    find: (scope) => byScope.get(scope),
    async sweep(signal) {
      const oldest = clock.now() - keepMs;
      for (const [id, { tombstone, cell }] of kept) {
        if (kept.size <= max && tombstone.endedAt >= oldest) return;
        if (signal.aborted) return;
        try {
          await cell.remove();
        } catch (error) {
          logger.warn("an old broadcast could not be removed, it will be tried again", {
            id,
            error,
          });
          return;
        }
        kept.delete(id);
        const scope = scopeOf(tombstone);
        if (byScope.get(scope) === tombstone) byScope.delete(scope);
      }
    },
    get full() {
      return kept.size > max;
    },
  };
}
