/**
 * Loaded into each process of a cluster by `--import`: its connections go the ways that the test has laid
 * for it, so that the network between any two processes can be broken by itself.
 *
 * @module
 */

import { Socket } from "node:net";

/** By the port that a process asks for, the port where its own way there begins. */
const routes = JSON.parse(process.env.MILLRACE_TEST_ROUTES ?? "{}") as Record<string, number>;

type Connect = (this: Socket, ...args: unknown[]) => Socket;

const connect = Socket.prototype.connect as Connect;
Socket.prototype.connect = function (this: Socket, ...args: unknown[]): Socket {
  // As a user calls it, and as `net.connect` does.
  const options: unknown = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (options !== null && typeof options === "object" && "port" in options) {
    options.port = routes[String(options.port)] ?? options.port;
  } else if (typeof options === "number") {
    args[0] = routes[options] ?? options;
  }
  return connect.apply(this, args);
} as Connect as Socket["connect"];
