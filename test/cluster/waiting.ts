/**
 * Waiting for what another process does, for a bounded time.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";

/** Asks again and again until the answer is yes; errors are a no. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds().catch(() => false))) await sleep(50);
}

/** Rejects if it takes longer. */
export async function inTime<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = sleep(ms, undefined, { signal: late.signal }).then(
    () => Promise.reject(new Error(`not within ${ms / 1000} s: ${what}`)),
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([promise, timer]);
  } finally {
    late.abort();
  }
}
