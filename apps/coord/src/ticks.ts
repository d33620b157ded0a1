/**
 * Time ticks for the whole cluster.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import {
  type Clock,
  type Logger,
  MillraceError,
  type Tick,
  tickFromMs,
  ticksPerMs,
} from "@millrace/types";
import { openHighWater } from "./high-water.ts";

/** Options of {@linkcode openTickAllocator}. */
export interface TickAllocatorOptions {
  meta: MetaStore;
  /** Where the bound is kept. Default `coord/ticks`. */
  key?: string;
  /** How far ahead of the clock the bound is saved, in milliseconds. Default 3000. */
  windowMs?: number;
  clock: Clock;
  logger: Logger;
}

/** Hands out ticks. */
export interface TickAllocator {
  /** The first of `count` (1 to 262144) contiguous ticks, above all that were ever handed out. */
  allocate(count: number): Promise<Tick>;
}

/** How far ahead the bound is saved when ticks run ahead of the clock, in milliseconds. */
const creepMs = 250;

/**
 * Opens the allocator. Ticks follow the wall clock; when it goes back they stand still in time and
 * only count. The bound is saved ahead of use, so that a call seldom waits for the store.
 */
export async function openTickAllocator(options: TickAllocatorOptions): Promise<TickAllocator> {
  const { meta, key = "coord/ticks", windowMs = 3000, clock, logger } = options;
  const water = await openHighWater(meta, key);
  let next: Tick = 0n;

  const boundAhead = (end: Tick, share: number): Tick =>
    later(tickFromMs(clock.now() + windowMs * share), end + tickFromMs(creepMs * share));

  const extendAhead = (end: Tick): void => {
    if (water.limit >= boundAhead(end, 0.5)) return;
    water
      .raise(boundAhead(end, 1))
      .catch((error: unknown) => logger.warn("cannot save the bound of ticks ahead", { error }));
  };

  return {
    async allocate(count) {
      checkCount(count, ticksPerMs);
      for (;;) {
        const first = later(later(tickFromMs(clock.now()), next), water.floor);
        const end = first + BigInt(count);
        if (end <= water.limit) {
          next = end;
          extendAhead(end);
          return first;
        }
        await water.raise(boundAhead(end, 1));
      }
    },
  };
}

/** Refuses a count outside 1 to `max` with `INVALID_ARGUMENT`. */
export function checkCount(count: number, max: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= max) return;
  throw new MillraceError("INVALID_ARGUMENT", `count must be 1 to ${max}, got ${count}`, {
    field: "count",
  });
}

function later(a: Tick, b: Tick): Tick {
  return a > b ? a : b;
}
