/**
 * Errors at both ends of a call: what handlers throw becomes what the wire carries, and back.
 *
 * @module
 */

import { Code, type ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { type Logger, MillraceError } from "@millrace/types";
import { fromConnectError, toConnectError } from "./errors.ts";

/**
 * Turns what handlers throw, also in the midst of a stream, into Connect errors by
 * {@linkcode toConnectError}. Errors that are nobody's intention are logged with their stack.
 */
export function serverErrors(logger: Logger): Interceptor {
  return (next) => async (request) => {
    const convert = (error: unknown): ConnectError => {
      const converted = toConnectError(error);
      // A handler that throws the reason of its signal was cancelled, whatever the reason looks like.
      const wasCancelled = request.signal.aborted && error === request.signal.reason;
      if (converted.code === Code.Internal && !wasCancelled) {
        logger.error("a handler failed", {
          method: `${request.service.typeName}/${request.method.name}`,
          error: stackOf(error),
        });
      }
      return converted;
    };
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: mapErrors(response.message, convert) };
    } catch (error) {
      throw convert(error);
    }
  };
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by ${stackOf(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/**
 * Ends streams that are under way with `ON_SHUTDOWN` when the signal is aborted, so that a server
 * can drain although streams have no end of their own. Unary calls are left to finish.
 */
export function streamShutdown(signal: AbortSignal): Interceptor {
  return (next) => async (request) => {
    const response = await next(request);
    if (!response.stream) return response;
    return { ...response, message: untilAborted(response.message, signal) };
  };
}

/** A transport whose calls fail with MillraceErrors, by {@linkcode fromConnectError}. */
export function clientErrors(transport: Transport): Transport {
  return {
    async unary(method, signal, ...rest) {
      try {
        return await transport.unary(method, signal, ...rest);
      } catch (error) {
        throw fromConnectError(error, signal);
      }
    },
    async stream(method, signal, ...rest) {
      const convert = (error: unknown): MillraceError => fromConnectError(error, signal);
      try {
        const response = await transport.stream(method, signal, ...rest);
        return { ...response, message: mapErrors(response.message, convert) };
      } catch (error) {
        throw convert(error);
      }
    },
  };
}

async function* mapErrors<T>(
  source: AsyncIterable<T>,
  convert: (error: unknown) => Error,
): AsyncIterable<T> {
  try {
    yield* source;
  } catch (error) {
    throw convert(error);
  }
}

async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const result = await nextUntilAborted(iterator, signal);
      if (result.done) return;
      yield result.value;
    }
  } finally {
    // Not awaited: a handler that waits learns of the end by its own signal, a moment later.
    iterator.return?.()?.catch(() => undefined);
  }
}

function nextUntilAborted<T>(
  iterator: AsyncIterator<T>,
  signal: AbortSignal,
): Promise<IteratorResult<T>> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      const message = "the server is shutting down; connect again";
      reject(toConnectError(new MillraceError("ON_SHUTDOWN", message)));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    iterator
      .next()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", onAbort));
  });
}
