/**
 * The Millrace proxy: DDL, inserts, deletes, flush and tail for clients.
 *
 * @module
 */

export { type ProxyLimits, proxyLimits } from "./limits.ts";
export { createProxy, type MillraceProxy, type ProxyOptions, proxyServices } from "./proxy.ts";
