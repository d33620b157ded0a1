/**
 * What was opened, to be closed in reverse.
 *
 * @module
 */

/** Things to close. */
export interface Closers {
  /** Takes a thing and gives it back. */
  add<T extends { close(): unknown }>(thing: T): T;
  /** Takes a step of closing. */
  defer(step: () => unknown): void;
  /** Closes all, the last first, whatever fails; rejects with the first failure. */
  close(): Promise<void>;
}

/** Creates an empty list. */
export function createClosers(): Closers {
  const steps: (() => unknown)[] = [];
  return {
    add(thing) {
      steps.push(() => thing.close());
      return thing;
    },
    defer(step) {
      steps.push(step);
    },
    async close() {
      const failures: unknown[] = [];
      for (let step = steps.pop(); step; step = steps.pop()) {
        try {
          await step();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}
