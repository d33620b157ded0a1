/**
 * One port for HTTP/1.1 and h2c, so that curl, browsers, Connect, gRPC-Web and plain gRPC clients
 * all reach it.
 *
 * @module
 */

import { createServer as createHttpServer } from "node:http";
import { constants, createServer as createHttp2Server, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { type Clock, type Logger, MillraceError, silentLogger } from "@millrace/types";
import { systemClock } from "@millrace/types/node";
import type { Hono } from "hono";
import { streamShutdown } from "./interceptors.ts";
import { createRequestListener, type RequestListener } from "./request-listener.node.ts";
import { type Routes, routerOptions } from "./routes.ts";
import { sniffProtocol } from "./sniff.node.ts";

/** Options of {@linkcode listen}. */
export interface ListenOptions {
  routes: Routes;
  /** Answers the paths that the routes do not. Default: 404. */
  app?: Hono;
  /** The address to bind, such as `127.0.0.1`. */
  host: string;
  /** 0 picks a free one. */
  port: number;
  /** The largest request body in bytes. Default 64 MiB. */
  maxBodyBytes?: number;
  /** Origins such as `https://app.example` whose pages may call the routes; `*`: all. Default: none. */
  origins?: readonly string[];
  /** Takes the errors that are nobody's intention. Default: none are kept. */
  logger?: Logger;
  /** Measures the grace of `close`. Default: the system's. */
  clock?: Clock;
}

/** A server that listens. */
export interface Listener {
  /** Such as `http://127.0.0.1:8530`. */
  url: string;
  port: number;
  /**
   * Accepts no more connections, ends streams with `ON_SHUTDOWN`, lets unary calls finish for up to
   * `graceMs` (default 5000) milliseconds, then cuts what is left.
   */
  close(graceMs?: number): Promise<void>;
}

const defaultGraceMs = 5000;
/** How long what is cut may take to be told so, in milliseconds. */
const resetMs = 50;
const maxHeaderBytes = 32 * 1024;
const windowBytes = 4 * 1024 * 1024;

/**
 * Serves the routes over HTTP/1.1 and HTTP/2 without TLS on one port. Rejects with `UNAVAILABLE` if
 * the port is in use, and with `PERMISSION_DENIED` or `INVALID_ARGUMENT` if it cannot be bound.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { routes, app, host, port, origins = [] } = options;
  const { logger = silentLogger, clock = systemClock } = options;
  const router = routerOptions(logger, options.maxBodyBytes);
  const shutdown = new AbortController();
  router.interceptors = [...(router.interceptors ?? []), streamShutdown(shutdown.signal)];
  const answer = createRequestListener({ routes, router, app, origins, logger });

  const http1 = serveHttp1(answer, shutdown.signal);
  const http2 = serveHttp2(answer, shutdown.signal);
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", (error) => logger.debug("a connection failed", { error }));
    sniffProtocol(socket, (protocol) => (protocol === "h2" ? http2 : http1).take(socket));
  });
  await bind(server, host, port);
  server.on("error", (error) => logger.error("the server failed", { error }));

  const address = server.address() as AddressInfo;
  const authority = host.includes(":") ? `[${host}]` : host;
  let closing: Promise<void> | undefined;
  const close = async (graceMs: number): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    shutdown.abort();
    const destroy = (): void => {
      for (const socket of sockets) socket.destroy();
    };
    let cancel = clock.schedule(graceMs, () => {
      http2.reset();
      cancel = clock.schedule(resetMs, destroy);
    });
    await closed;
    cancel();
  };
  return {
    url: `http://${authority}:${address.port}`,
    port: address.port,
    close(graceMs = defaultGraceMs) {
      closing ??= close(graceMs);
      return closing;
    },
  };
}

/** A server that is given its connections. */
interface ConnectionServer {
  take(socket: Socket): void;
}

/** Takes connections that speak HTTP/1.1. */
function serveHttp1(answer: RequestListener, shutdown: AbortSignal): ConnectionServer {
  const server = createHttpServer(
    // 0: a stream may take for ever; headers must come within a minute all the same.
    { requestTimeout: 0, headersTimeout: 60_000, maxHeaderSize: maxHeaderBytes },
    (request, response) => {
      if (shutdown.aborted) response.setHeader("connection", "close");
      response.once("close", () => {
        if (shutdown.aborted) server.closeIdleConnections();
      });
      answer(request, response);
    },
  );
  // It never listens itself; this starts its watch over headersTimeout and idle connections.
  server.emit("listening");
  shutdown.addEventListener("abort", () => server.close(), { once: true });
  return {
    take(socket) {
      server.emit("connection", socket);
    },
  };
}

/** Takes connections that speak HTTP/2. */
function serveHttp2(
  answer: RequestListener,
  shutdown: AbortSignal,
): ConnectionServer & {
  /** Ends all streams with an error, so that clients do not take the end for an answer. */
  reset(): void;
} {
  const server = createHttp2Server(
    {
      settings: {
        initialWindowSize: windowBytes,
        maxConcurrentStreams: 4096,
        maxHeaderListSize: maxHeaderBytes,
      },
    },
    answer,
  );
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.setLocalWindowSize(4 * windowBytes);
    session.once("close", () => sessions.delete(session));
    if (shutdown.aborted) session.close();
  });
  shutdown.addEventListener(
    "abort",
    () => {
      for (const session of sessions) session.close();
    },
    { once: true },
  );
  return {
    take(socket) {
      server.emit("connection", socket);
    },
    reset() {
      for (const session of sessions) session.destroy(undefined, constants.NGHTTP2_CANCEL);
    },
  };
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(bindError(error, host, port));
    server.once("error", onError);
    server.listen(port, host, () => {
      server.off("error", onError);
      resolve();
    });
  });
}

function bindError(error: NodeJS.ErrnoException, host: string, port: number): MillraceError {
  switch (error.code) {
    case "EADDRINUSE":
      return new MillraceError(
        "UNAVAILABLE",
        `port ${port} of ${host} is in use; stop what uses it or choose another port`,
        { cause: error },
      );
    case "EACCES":
      return new MillraceError(
        "PERMISSION_DENIED",
        `port ${port} of ${host} may not be opened by this user; choose one above 1023`,
        { cause: error },
      );
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return new MillraceError(
        "INVALID_ARGUMENT",
        `${host} is not an address of this machine; choose one that is, such as 127.0.0.1`,
        { field: "host", cause: error },
      );
    default:
      return new MillraceError(
        "INVALID_ARGUMENT",
        `${host}:${port} cannot be opened: ${error.message}`,
        { cause: error },
      );
  }
}
