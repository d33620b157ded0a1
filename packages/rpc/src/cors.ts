/**
 * Calls from pages of other origins.
 *
 * @module
 */

import { cors } from "@connectrpc/connect";

/** How long a browser may keep the answer to a preflight, in seconds. */
const maxAgeSeconds = 7200;

/**
 * The headers that let a page of `origin` read an answer; none if the origin is not allowed. `*`
 * among the allowed origins allows all. Credentials are never allowed.
 */
export function corsHeaders(
  allowed: readonly string[],
  origin: string | null | undefined,
): Record<string, string> {
  if (!origin) return {};
  const all = allowed.includes("*");
  if (!all && !allowed.includes(origin)) return {};
  return {
    "access-control-allow-origin": all ? "*" : origin,
    "access-control-expose-headers": cors.exposedHeaders.join(", "),
    ...(all ? {} : { vary: "origin" }),
  };
}

/** What a preflight is answered besides {@linkcode corsHeaders}. */
export const preflightHeaders: Readonly<Record<string, string>> = {
  "access-control-allow-methods": cors.allowedMethods.join(", "),
  "access-control-allow-headers": [...cors.allowedHeaders, "Authorization"].join(", "),
  "access-control-max-age": String(maxAgeSeconds),
};
