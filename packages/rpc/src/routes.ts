/**
 * Routes: the services that a server answers, and what every server has in common.
 *
 * @module
 */

import type { ConnectRouter, ConnectRouterOptions } from "@connectrpc/connect";
import { type Logger, MillraceError } from "@millrace/types";
import { gzip } from "./compression.ts";
import { toConnectError } from "./errors.ts";
import { serverErrors } from "./interceptors.ts";

/** Registers services on a router. */
export type Routes = (router: ConnectRouter) => void;

/** The largest request body that is taken unless configured. */
export const defaultMaxBodyBytes: number = 64 * 1024 * 1024;

/** What a service may add around a body of the largest size when it sends it on. */
const frameBytes = 64 * 1024;

/** What the routers of all faces share: errors, compression, and the limit of a request's size. */
export function routerOptions(
  logger: Logger,
  maxBodyBytes: number = defaultMaxBodyBytes,
): ConnectRouterOptions {
  return {
    interceptors: [serverErrors(logger)],
    acceptCompression: [gzip],
    readMaxBytes: maxBodyBytes + frameBytes,
    // Refuses a body by its announced length, before any of it is read.
    requestGate(context) {
      const length = Number(context.requestHeader.get("content-length") ?? 0);
      if (length > maxBodyBytes + frameBytes) {
        throw toConnectError(bodyTooLarge(length, maxBodyBytes));
      }
    },
  };
}

function bodyTooLarge(length: number, maxBodyBytes: number): MillraceError {
  return new MillraceError(
    "RESOURCE_EXHAUSTED",
    `the request has ${length} bytes; at most ${maxBodyBytes} are allowed: send it in smaller parts`,
    { retryable: false },
  );
}
