/**
 * Servers and clients on Node, Deno and Bun: one port for HTTP/1.1 and h2c, and Connect over h2c.
 *
 * @module
 */

export {
  createHttpTransport,
  createTransportPool,
  type HttpTransport,
  type HttpTransportOptions,
  type TransportPool,
} from "./http-transport.node.ts";
export { type Listener, type ListenOptions, listen } from "./listen.node.ts";
