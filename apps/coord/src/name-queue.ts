/**
 * Jobs that run one after the other where they have the same name, and side by side where not.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";

/** A queue for each name. */
export interface NameQueue {
  /**
   * Runs a job when all before it under this name have settled. `RESOURCE_EXHAUSTED` if too many
   * wait.
   */
  run<T>(name: string, job: () => Promise<T>): Promise<T>;
  /** Resolves when no job runs or waits. */
  idle(): Promise<void>;
}

/** Creates a queue that holds at most `limit` jobs over all names. */
export function createNameQueue(limit: number): NameQueue {
  const tails = new Map<string, Promise<void>>();
  let pending = 0;

  return {
    run(name, job) {
      if (pending >= limit) {
        throw new MillraceError(
          "RESOURCE_EXHAUSTED",
          `${limit} changes of the catalog are under way; try again later`,
          { retryAfterMs: 1000 },
        );
      }
      pending += 1;
      const result = (tails.get(name) ?? Promise.resolve()).then(job);
      const over = (): void => {
        pending -= 1;
        if (tails.get(name) === tail) tails.delete(name);
      };
      // The caller gets the error; here it only matters that the job is over.
      const tail = result.then(over, over);
      tails.set(name, tail);
      return result;
    },
    async idle() {
      while (tails.size > 0) await Promise.all(tails.values());
    },
  };
}
