/**
 * What an etcd store needs to know.
 *
 * @module
 */

import { type Clock, type Logger, MillraceError, type Random } from "@millrace/types";
import { checkKey } from "../../keys.ts";

/** A user of etcd. */
export interface EtcdCredentials {
  name: string;
  password: string;
}

/** Options of {@linkcode createEtcdMetaStore}. */
export interface EtcdMetaStoreOptions {
  /** URLs of the cluster's members, such as `https://etcd-1:2379`, 1 to 32; the first that answers is used. */
  endpoints: readonly string[];
  /**
   * Before every key, with a slash between, so that clusters can share one etcd. Up to 80 bytes,
   * default `millrace`. No cluster's prefix may be a folder of another's.
   */
  prefix?: string;
  /** The user, or what answers the current one; asked for every token. Default: no user. */
  credentials?: EtcdCredentials | (() => Promise<EtcdCredentials>);
  /** How long one member may take for an answer, in milliseconds. 10 to 3600000, default 3000. */
  requestTimeoutMs?: number;
  /** How long a call may take over all attempts, in milliseconds. 10 to 3600000, default 10000. */
  callTimeoutMs?: number;
  /**
   * After how long a watch is asked for anew, in milliseconds, so that a connection that died
   * silently is noticed. 1000 to 3600000, default 30000.
   */
  watchRenewMs?: number;
  /** How many entries a page of a listing has at most. 1 to 10000, default 512. */
  pageSize?: number;
  /** Default: the global one. */
  fetch?: typeof fetch;
  clock: Clock;
  random: Random;
  /** Told of attempts that failed. Default: nobody. */
  logger?: Logger;
}

/** Where the members and the keys are. */
export interface EtcdLocation {
  /** For logs and errors: `etcd://host:port,host:port/prefix`. */
  name: string;
  /** URLs of the members' gateways, without a slash at their end. */
  gateways: string[];
  /** Before every key: `prefix/`. */
  root: string;
}

/** Checks the options and works out where requests go. Throws `INVALID_ARGUMENT` with `field`. */
export function locateEtcd(options: EtcdMetaStoreOptions): EtcdLocation {
  const { endpoints } = options;
  checkNumber("requestTimeoutMs", options.requestTimeoutMs, 10, 3_600_000);
  checkNumber("callTimeoutMs", options.callTimeoutMs, 10, 3_600_000);
  checkNumber("watchRenewMs", options.watchRenewMs, 1000, 3_600_000);
  checkNumber("pageSize", options.pageSize, 1, 10_000);
  if (endpoints.length < 1 || endpoints.length > 32) {
    throw invalid("endpoints", `${endpoints.length} endpoints are given, use 1 to 32`);
  }
  const urls = endpoints.map((endpoint, i) => parseEndpoint(endpoint, `endpoints[${i}]`));
  const prefix = (options.prefix ?? "millrace").replace(/^\/+|\/+$/g, "");
  checkPrefix(prefix);
  return {
    name: `etcd://${urls.map((url) => url.host).join(",")}/${prefix}`,
    gateways: urls.map((url) => `${url.origin}${url.pathname.replace(/\/+$/, "")}/v3`),
    root: `${prefix}/`,
  };
}

function parseEndpoint(endpoint: string, field: string): URL {
  const url = URL.parse(endpoint);
  if (url === null) throw invalid(field, `${JSON.stringify(endpoint)} is not a URL`);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw invalid(field, `the endpoint begins with ${url.protocol}, use http: or https:`);
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid(field, "the endpoint must not contain a user; hand it in as credentials");
  }
  return url;
}

function checkPrefix(prefix: string): void {
  try {
    checkKey(prefix);
  } catch (cause) {
    throw invalid("prefix", `${MillraceError.from(cause).message}; choose another prefix`);
  }
  if (new TextEncoder().encode(prefix).length > 80) {
    throw invalid("prefix", "the prefix has more than 80 bytes");
  }
}

function checkNumber(field: string, value: number | undefined, least: number, most: number): void {
  if (value === undefined) return;
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw invalid(field, `${field} is ${value}, use a whole number from ${least} to ${most}`);
}

function invalid(field: string, message: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", message, { field });
}
