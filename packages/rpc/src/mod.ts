/**
 * Services and their clients over Connect, gRPC and gRPC-Web: errors, health, reflection, the fetch
 * face, and calls within one process. What needs Node is in `@millrace/rpc/node`.
 *
 * @module
 */

export { type ActiveTransportOptions, createActiveTransport } from "./active-transport.ts";
export { type AppOptions, createApp } from "./app.ts";
export { errorFromDetail, errorToDetail, fromConnectError, toConnectError } from "./errors.ts";
export type { HealthOptions } from "./health.ts";
export { clientErrors, serverErrors, streamShutdown } from "./interceptors.ts";
export { createLocalTransport, type LocalTransportOptions } from "./local-transport.ts";
export { defaultMaxBodyBytes, type Routes, routerOptions } from "./routes.ts";
export { withHealthAndReflection } from "./standard.ts";
export type { TransportFor } from "./transport.ts";
