/**
 * The client of the proxy, and calls that go on over a restart of the server.
 *
 * @module
 */

import { type Client, createClient } from "@connectrpc/connect";
import { createHttpTransport, type HttpTransport } from "@millrace/rpc/node";
import { backoffDelay, type Clock, delay, MillraceError, type Random } from "@millrace/types";
import { AdminService, ProxyService } from "@millrace/types/gen";
import { systemErrorOf, systemReason } from "./errors.ts";

/** Clients of one server. */
export interface MillraceClient {
  readonly server: string;
  readonly proxy: Client<typeof ProxyService>;
  readonly admin: Client<typeof AdminService>;
  close(): void;
}

/** Clients of the server at a base URL. The connection is made by the first call. */
export function connect(server: string): MillraceClient {
  const transport: HttpTransport = createHttpTransport(server);
  return {
    server,
    proxy: createClient(ProxyService, transport),
    admin: createClient(AdminService, transport),
    close: () => transport.close(),
  };
}

/** An error of a call, with the server's address if the call did not get there. */
export function explainCallError(error: unknown, server: string): unknown {
  if (!MillraceError.is(error, "UNAVAILABLE")) return error;
  const system = systemErrorOf(error);
  if (!system) return error;
  return new MillraceError("UNAVAILABLE", `cannot reach ${server}: ${systemReason(system)}`, {
    maybeApplied: error.maybeApplied,
    cause: error,
  });
}

/** Options of {@linkcode retrying}. */
export interface RetryOptions {
  clock: Clock;
  random: Random;
  /** For how long a call is tried again after its first failure, in milliseconds. */
  retryForMs: number;
  signal: AbortSignal;
  /** Called before each wait with the error and the attempt, from 0. */
  onRetry?: (error: MillraceError, attempt: number) => void;
}

/** A call without an answer after this long is given up, and tried again where that is safe. */
export const callTimeoutMs = 60_000;

/**
 * Runs a call, again and again while its error passes by itself: the server is away or restarts,
 * channels move, queues are full. Only for calls that may be repeated. Rejects with the last error, or
 * with the signal's reason.
 */
export async function retrying<T>(call: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, random, retryForMs, signal, onRetry } = options;
  let firstFailure: number | undefined;
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      signal.throwIfAborted();
      const now = clock.monotonic();
      firstFailure ??= now;
      const left = firstFailure + retryForMs - now;
      if (!MillraceError.is(error) || !isPassing(error) || left <= 0) throw error;
      onRetry?.(error, attempt);
      const backoff = backoffDelay(attempt, random, { initialMs: 50, maxMs: 1000 });
      await delay(clock, Math.min(left, Math.max(error.retryAfterMs, backoff)), signal);
    }
  }
}

/** Whether an error may be gone at the next attempt of a call that may be repeated. */
export function isPassing(error: MillraceError): boolean {
  return error.retryable || error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED";
}
