/**
 * Routes as a listener of Node's HTTP servers, of either version.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import {
  Code,
  ConnectError,
  type ConnectRouterOptions,
  createConnectRouter,
} from "@connectrpc/connect";
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import { getRequestListener } from "@hono/node-server";
import type { Logger } from "@millrace/types";
import type { Hono } from "hono";
import { corsHeaders, preflightHeaders } from "./cors.ts";
import type { Routes } from "./routes.ts";

/** Answers one request. */
export type RequestListener = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void;

/** Options of {@linkcode createRequestListener}. */
export interface RequestListenerOptions {
  routes: Routes;
  router: ConnectRouterOptions;
  /** Answers what the routes do not. Default: 404. */
  app?: Hono | undefined;
  /** Origins whose pages may call the routes; `*`: all. */
  origins: readonly string[];
  logger: Logger;
}

/** Sends a request to the handler of its path, or to the app. Never throws. */
export function createRequestListener(options: RequestListenerOptions): RequestListener {
  const { routes, logger } = options;
  const router = createConnectRouter(options.router);
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const fallback = options.app ? getRequestListener(options.app.fetch) : undefined;

  const answer: RequestListener = (request, response) => {
    const path = request.url?.split("?", 1)[0] ?? "";
    const handler = handlers.get(path);
    if (!handler) {
      if (fallback) void fallback(request, response);
      else finish(response, 404);
      return;
    }
    const headers = corsHeaders(options.origins, request.headers.origin);
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (request.method === "OPTIONS") {
      for (const [name, value] of Object.entries(preflightHeaders)) response.setHeader(name, value);
      finish(response, 204);
      return;
    }
    const universal = universalRequestFromNodeRequest(request, response, undefined, undefined);
    handler(universal)
      .then((result) => universalResponseToNodeResponse(result, response))
      .catch((error: unknown) => {
        // The client went away, or sent what is not HTTP; handlers' errors never come here.
        logger.debug("an answer could not be sent", { path, error });
        if (ConnectError.from(error).code !== Code.Aborted) response.destroy();
      });
  };
  return (request, response) => {
    try {
      answer(request, response);
    } catch {
      // A request without an authority, or with one that is no host, has no URL.
      finish(response, 400);
    }
  };
}

function finish(response: ServerResponse | Http2ServerResponse, status: number): void {
  response.statusCode = status;
  response.end();
}
