/**
 * Ids that never repeat: of collections, partitions, and rows whose key is filled in.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import type { Logger } from "@millrace/types";
import { openHighWater } from "./high-water.ts";
import { checkCount } from "./ticks.ts";

/** Options of {@linkcode openIdAllocator}. */
export interface IdAllocatorOptions {
  meta: MetaStore;
  /** Where the bound is kept. Default `coord/ids`. */
  key?: string;
  /** How many ids are saved ahead, so that a call seldom waits for the store. Default 1000000. */
  ahead?: number;
  logger: Logger;
}

/** Hands out ids. */
export interface IdAllocator {
  /** The first of `count` (1 to 10000000) contiguous ids, from 1, each used once for ever. */
  allocate(count: number): Promise<bigint>;
}

const maxCount = 10_000_000;

/** Opens the allocator. Ids that were saved ahead and not used before a crash are skipped. */
export async function openIdAllocator(options: IdAllocatorOptions): Promise<IdAllocator> {
  const { meta, key = "coord/ids", ahead = 1_000_000, logger } = options;
  const water = await openHighWater(meta, key);
  let next = 1n;

  const extendAhead = (): void => {
    if (water.limit - next >= BigInt(Math.floor(ahead / 2))) return;
    water
      .raise(next + BigInt(ahead))
      .catch((error: unknown) => logger.warn("cannot save the bound of ids ahead", { error }));
  };

  return {
    async allocate(count) {
      checkCount(count, maxCount);
      for (;;) {
        const first = next > water.floor ? next : water.floor;
        const end = first + BigInt(count);
        if (end <= water.limit) {
          next = end;
          extendAhead();
          return first;
        }
        await water.raise(end + BigInt(ahead));
      }
    },
  };
}
