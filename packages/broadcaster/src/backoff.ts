/**
 * Waiting before something is tried again.
 *
 * @module
 */

import { backoffDelay, type Clock, type Random } from "@millrace/types";

/** Options of {@linkcode createBackoff}. */
export interface BackoffOptions {
  clock: Clock;
  random: Random;
}

/** Waits of many, which can be ended together. */
export interface Backoff {
  /**
   * Resolves after 10 ms to 10 s, growing with the number of failures, or when triggered. Rejects with
   * the signal's reason when it is aborted.
   */
  wait(failures: number, signal: AbortSignal): Promise<void>;
  /** Ends all waits that are under way. */
  trigger(): void;
}

const retryMs = { initialMs: 10, maxMs: 10_000 };

/** Creates a {@linkcode Backoff}. */
export function createBackoff({ clock, random }: BackoffOptions): Backoff {
  const waits = new Set<() => void>();
  return {
    wait: (failures, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(signal.reason);
          return;
        }
        const over = (): void => {
          cancel();
          waits.delete(wake);
          signal.removeEventListener("abort", onAbort);
        };
        const wake = (): void => {
          over();
          resolve();
        };
        const onAbort = (): void => {
          over();
          reject(signal.reason);
        };
        const cancel = clock.schedule(backoffDelay(failures, random, retryMs), wake);
        waits.add(wake);
        signal.addEventListener("abort", onAbort, { once: true });
      }),
    trigger() {
      for (const wake of [...waits]) wake();
    },
  };
}
