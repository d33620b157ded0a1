/**
 * The fetch face: services on Hono, wherever `fetch` handlers run.
 *
 * @module
 */

import { createConnectRouter } from "@connectrpc/connect";
import {
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
} from "@connectrpc/connect/protocol";
import { type Logger, silentLogger } from "@millrace/types";
import { Hono } from "hono";
import { type Routes, routerOptions } from "./routes.ts";

/** Options of {@linkcode createApp}. */
export interface AppOptions {
  routes: Routes;
  /** Takes the errors that are nobody's intention. Default: none are kept. */
  logger?: Logger;
  /** The largest request body in bytes. Default 64 MiB. */
  maxBodyBytes?: number;
}

/**
 * A Hono app that answers the routes over Connect and gRPC-Web, and `GET /healthz` with `ok`. Plain
 * gRPC needs HTTP trailers, which `fetch` does not have: use `listen` of `@millrace/rpc/node`.
 */
export function createApp(options: AppOptions): Hono {
  const { routes, logger = silentLogger, maxBodyBytes } = options;
  const router = createConnectRouter({ ...routerOptions(logger, maxBodyBytes), grpc: false });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  const app = new Hono();
  app.get("/healthz", (context) => context.text("ok"));
  app.use(async (context, next) => {
    const handler = handlers.get(context.req.path);
    if (!handler) return next();
    // An empty version: bidirectional streams are allowed, as fetch handlers are full duplex.
    const request = universalServerRequestFromFetch(context.req.raw, { httpVersion: "" });
    return universalServerResponseToFetch(await handler(request));
  });
  return app;
}
