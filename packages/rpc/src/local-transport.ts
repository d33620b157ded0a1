/**
 * Calls within one process.
 *
 * @module
 */

import { createRouterTransport, type Interceptor, type Transport } from "@connectrpc/connect";
import { type Logger, silentLogger } from "@millrace/types";
import { clientErrors, serverErrors } from "./interceptors.ts";
import type { Routes } from "./routes.ts";

/** Options of {@linkcode createLocalTransport}. */
export interface LocalTransportOptions {
  /** Takes the errors that are nobody's intention. Default: none are kept. */
  logger?: Logger;
}

/**
 * A transport that calls the routes in this process. Messages are copied as over a network, errors
 * arrive as MillraceErrors, and an aborted signal reaches the handler.
 */
export function createLocalTransport(
  routes: Routes,
  options: LocalTransportOptions = {},
): Transport {
  const interceptors = [serverErrors(options.logger ?? silentLogger), endOnAbort];
  return clientErrors(createRouterTransport(routes, { router: { interceptors } }));
}

/**
 * Ends a stream's handler when its call is aborted, also one that waits for its last message to be
 * taken. A network's adapters do that; within a process nobody else would, and what the handler holds
 * would stay held.
 */
const endOnAbort: Interceptor = (next) => async (request) => {
  const response = await next(request);
  if (!response.stream) return response;
  const iterator = response.message[Symbol.asyncIterator]();
  const end = (): void => {
    iterator.return?.()?.catch(() => undefined);
  };
  if (request.signal.aborted) end();
  else request.signal.addEventListener("abort", end, { once: true });
  return { ...response, message: { [Symbol.asyncIterator]: () => iterator } };
};
