/**
 * A number that grows with each change, and a way to wait for the next one. Who waits sees the latest
 * state, not each state in between, so that nothing queues up for a slow reader.
 *
 * @module
 */

import type { Clock } from "@millrace/types";

/** Tells those who wait that something changed. */
export interface Changes {
  /** Grows with each change, from 1. */
  readonly revision: number;
  /** Notes a change and wakes those who wait. */
  notify(): void;
  /** Resolves when the revision is above `seen`, after `ms`, or when the signal is aborted. */
  wait(seen: number, ms: number, signal: AbortSignal): Promise<void>;
}

/** Creates a {@linkcode Changes}. */
export function createChanges(clock: Clock): Changes {
  let revision = 1;
  const waiting = new Set<() => void>();
  return {
    get revision() {
      return revision;
    },
    notify() {
      revision += 1;
      for (const wake of waiting) wake();
    },
    wait(seen, ms, signal) {
      if (revision > seen || signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const wake = (): void => {
          cancel();
          waiting.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        const cancel = clock.schedule(ms, wake);
        waiting.add(wake);
        signal.addEventListener("abort", wake, { once: true });
      });
    },
  };
}
