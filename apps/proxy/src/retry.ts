/**
 * Calls to the coordinator that may be repeated.
 *
 * @module
 */

import type { Transport } from "@connectrpc/connect";
import {
  backoffDelay,
  type Clock,
  delay,
  type Live,
  MillraceError,
  type Random,
  readLive,
} from "@millrace/types";

/** Options of {@linkcode retryUnavailable}. */
export interface RetryOptions {
  clock: Clock;
  random: Random;
  /** How long to go on, in milliseconds. */
  timeoutMs: number;
  /** Ends the retries. */
  signal: AbortSignal;
  /** The call is not safe to repeat once it may have had an effect. Default `false`. */
  once?: boolean;
}

/**
 * Calls again while the answer is `UNAVAILABLE`, as it is while no coordinator leads. The call must be safe
 * to repeat, or it is `once`. The last error comes through when the time is over.
 */
export async function retryUnavailable<T>(
  call: () => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { clock, random, timeoutMs, signal } = options;
  const end = clock.monotonic() + timeoutMs;
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      const pause = backoffDelay(attempt, random, { initialMs: 20, maxMs: 1000 });
      if (!MillraceError.is(error, "UNAVAILABLE", "ON_SHUTDOWN")) throw error;
      if (options.once && error.maybeApplied) throw error;
      if (signal.aborted || clock.monotonic() + pause > end) throw error;
      await delay(clock, pause, signal);
    }
  }
}

/** A transport whose unary calls wait for a coordinator that leads, unless they may have had an effect. */
export function waitForCoordinator(
  coord: Transport,
  options: Live<Omit<RetryOptions, "signal" | "once">>,
): Transport {
  const read = readLive(options);
  return {
    unary: (method, signal = new AbortController().signal, ...rest) =>
      retryUnavailable(() => coord.unary(method, signal, ...rest), {
        ...read(),
        signal,
        once: true,
      }),
    stream: (...call) => coord.stream(...call),
  };
}
