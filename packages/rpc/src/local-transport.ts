/**
 * Calls within one process.
 *
 * @module
 */

import { createRouterTransport, type Transport } from "@connectrpc/connect";
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
  const interceptors = [serverErrors(options.logger ?? silentLogger)];
  return clientErrors(createRouterTransport(routes, { router: { interceptors } }));
}
