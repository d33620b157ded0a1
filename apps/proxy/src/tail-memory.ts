/**
 * How much tails may hold of transactions that are open.
 *
 * @module
 */

import { type Live, MillraceError, readLive } from "@millrace/types";

/** Counts what all tails of a proxy hold. */
export interface TailMemory {
  join(): TailShare;
}

/** What one reader holds. */
export interface TailShare {
  /**
   * It holds so many bytes now. `RESOURCE_EXHAUSTED`, with a delay, if all together hold too many; one
   * that is the only one to hold any is let be, for the owners of logs bound what may be open.
   */
  hold(bytes: number): void;
  leave(): void;
}

const retryAfterMs = 1000;

/** Counts up to `maxBytes`. */
export function createTailMemory(maxBytes: Live<number>): TailMemory {
  const most = readLive(maxBytes);
  let used = 0;
  return {
    join() {
      let own = 0;
      const set = (bytes: number): void => {
        used += bytes - own;
        own = bytes;
      };
      return {
        hold(bytes) {
          const grows = bytes > own;
          set(bytes);
          if (!grows || used <= most() || used === own) return;
          throw new MillraceError(
            "RESOURCE_EXHAUSTED",
            `tails hold ${used} bytes of open transactions, and at most ${most()} are allowed; go on later from the last position`,
            { retryAfterMs },
          );
        },
        leave: () => set(0),
      };
    },
  };
}
