/**
 * Calls over the network: Connect over h2c, one connection per server.
 *
 * @module
 */

import { type ClientHttp2Stream, constants } from "node:http2";
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { clientErrors } from "./interceptors.ts";
import type { TransportFor } from "./transport.ts";

/** Options of {@linkcode createHttpTransport}. */
export interface HttpTransportOptions {
  /** A quiet connection with calls under way is tried after this many milliseconds. Default 10000. */
  pingIntervalMs?: number;
  /** A connection that does not answer a try in this many milliseconds is dead. Default 5000. */
  pingTimeoutMs?: number;
  /** A connection without calls is closed after this many milliseconds. Default 60000. */
  idleMs?: number;
  /** The largest answer in bytes. Default 128 MiB. */
  maxMessageBytes?: number;
}

/** A transport that holds a connection. */
export interface HttpTransport extends Transport {
  /** Cuts the connection and what is under way on it. A later call opens a new one. */
  close(): void;
}

const windowBytes = 4 * 1024 * 1024;

/**
 * A transport to one server, such as `http://127.0.0.1:8531`, over one HTTP/2 connection that is
 * opened by the first call, kept alive by pings, opened again after a failure, and closed when idle.
 * Errors arrive as MillraceErrors.
 */
export function createHttpTransport(
  baseUrl: string,
  options: HttpTransportOptions = {},
): HttpTransport {
  const {
    pingIntervalMs = 10_000,
    pingTimeoutMs = 5_000,
    idleMs = 60_000,
    maxMessageBytes = 128 * 1024 * 1024,
  } = options;
  const sessions = new Http2SessionManager(
    baseUrl,
    { pingIntervalMs, pingTimeoutMs, idleConnectionTimeoutMs: idleMs },
    { settings: { initialWindowSize: windowBytes, enablePush: false } },
  );
  const sessionManager = {
    authority: sessions.authority,
    async request(...args: Parameters<typeof sessions.request>) {
      const stream = await sessions.request(...args);
      failWithoutAnswer(stream);
      return stream;
    },
    notifyResponseByteRead: (stream: ClientHttp2Stream) => sessions.notifyResponseByteRead(stream),
  };
  const transport = clientErrors(
    createConnectTransport({
      baseUrl,
      httpVersion: "2",
      sessionManager,
      readMaxBytes: maxMessageBytes,
      // Between servers of one cluster, compressing costs more than it saves.
      acceptCompression: [],
    }),
  );
  return { ...transport, close: () => sessions.abort() };
}

/**
 * Fails a stream that ends before its answer began and without an error, as happens when a server
 * goes away right after it announced that it would. Its caller would wait for ever.
 */
function failWithoutAnswer(stream: ClientHttp2Stream): void {
  let answered = false;
  stream.once("response", () => {
    answered = true;
  });
  stream.once("close", () => {
    if (answered || stream.rstCode !== constants.NGHTTP2_NO_ERROR) return;
    const error = new Error("the connection ended before the answer");
    stream.emit("error", Object.assign(error, { code: "ECONNRESET" }));
  });
}

/** Transports to many servers, one each. */
export interface TransportPool {
  /** The transport to a server, made at the first call for its address. */
  transportFor: TransportFor;
  /** Cuts all connections. */
  close(): void;
}

/** Keeps one transport per base URL, so that all callers in a process share its connection. */
export function createTransportPool(options: HttpTransportOptions = {}): TransportPool {
  const transports = new Map<string, HttpTransport>();
  return {
    transportFor(address) {
      let transport = transports.get(address);
      if (!transport) {
        transport = createHttpTransport(address, options);
        transports.set(address, transport);
      }
      return transport;
    },
    close() {
      for (const transport of transports.values()) transport.close();
      transports.clear();
    },
  };
}
