/**
 * What portable code needs from outside: time, randomness, timers and a log. Handed in, never taken,
 * so that a whole cluster can run in one process on a virtual clock from one seed.
 *
 * @module
 */

import { MillraceError } from "./errors.ts";

/** Time and timers. */
export interface Clock {
  /** Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. May jump. */
  now(): number;
  /** Milliseconds since an arbitrary start. Never goes back. */
  monotonic(): number;
  /** Calls `callback` once after `ms`; the returned function cancels it. */
  schedule(ms: number, callback: () => void): () => void;
}

/** Randomness. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `length` random bytes, fit for identifiers. */
  bytes(length: number): Uint8Array;
}

/** Structured log. Implementations must not throw. */
export interface Logger {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

const ignore = (): void => undefined;

/** A logger that drops everything. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Resolves after `ms`, or rejects with the signal's reason when it is aborted. */
export function delay(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.schedule(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * Makes a call whose signal is aborted with `DEADLINE_EXCEEDED` after `ms`, or with the reason of
 * `outer` when that is aborted.
 */
export async function withTimeLimit<T>(
  clock: Clock,
  ms: number,
  outer: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  // Not AbortSignal.any: `outer` may live as long as the process, and so would what hangs on it.
  const onAbort = (): void => limit.abort(outer?.reason);
  if (outer?.aborted) onAbort();
  outer?.addEventListener("abort", onAbort, { once: true });
  const cancel = clock.schedule(ms, () => {
    limit.abort(new MillraceError("DEADLINE_EXCEEDED", `no answer within ${ms} ms`));
  });
  try {
    return await call(limit.signal);
  } finally {
    cancel();
    outer?.removeEventListener("abort", onAbort);
  }
}

/** Options of {@linkcode backoffDelay}. */
export interface BackoffOptions {
  /** The first delay in milliseconds. Default 10. */
  initialMs?: number;
  /** The longest delay in milliseconds. Default 5000. */
  maxMs?: number;
}

/**
 * The delay in milliseconds before attempt `attempt` (from 0): doubles with each, of which a random
 * part, up to half, is taken off.
 */
export function backoffDelay(
  attempt: number,
  random: Random,
  options: BackoffOptions = {},
): number {
  const { initialMs = 10, maxMs = 5000 } = options;
  const ceiling = Math.min(maxMs, initialMs * 2 ** Math.min(attempt, 30));
  return ceiling * (0.5 + random.next() / 2);
}
