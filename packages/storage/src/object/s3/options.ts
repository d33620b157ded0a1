/**
 * What an S3 store needs to know.
 *
 * @module
 */

import type { Clock, Logger, Random } from "@millrace/types";
import { MillraceError } from "@millrace/types";

/** Keys of an S3 account. */
export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  /** Of temporary keys. */
  sessionToken?: string;
}

/** Options of {@linkcode openS3ObjectStore} and {@linkcode createS3ObjectStore}. */
export interface S3ObjectStoreOptions {
  /** The bucket; it must exist. */
  bucket: string;
  /** Put before every key, with a slash between. Up to 120 bytes. Default none. */
  prefix?: string;
  /** The server's URL. Default: AWS in that region. */
  endpoint?: string;
  /** Such as `eu-central-1`. Default `us-east-1`. */
  region?: string;
  /** `http://host/bucket/key` and not `http://bucket.host/key`. Default: if an endpoint is given. */
  pathStyle?: boolean;
  /** The keys, or what answers the current ones; asked before every request. */
  credentials: S3Credentials | (() => Promise<S3Credentials>);
  /** Whether `If-Match` takes the etag in quotes. Default `true`; the probe finds it out. */
  quotedIfMatch?: boolean;
  /** How long a request may take without a byte of answer, in milliseconds. Default 30000. */
  requestTimeoutMs?: number;
  /** How often a request is sent at most. 1 to 20, default 5. */
  maxAttempts?: number;
  /** How many keys a page of a listing has. 1 to 1000, default 1000. */
  pageSize?: number;
  /** Default: the global one. */
  fetch?: typeof fetch;
  clock: Clock;
  random: Random;
  /** Told of retries and of uploads that could not be given up. Default: nobody. */
  logger?: Logger;
}

/** Where the bucket and its keys are. */
export interface S3Location {
  /** For logs and errors: `s3://bucket/prefix`. */
  name: string;
  bucket: string;
  /** Of the endpoint, for messages. */
  host: string;
  /** The URL of the bucket, without a slash at its end. */
  bucketUrl: string;
  /** Before every key: "" or `prefix/`. */
  root: string;
  region: string;
}

/** Checks the options and works out where requests go. Throws `INVALID_ARGUMENT` with `field`. */
export function locate(options: S3ObjectStoreOptions): S3Location {
  const { bucket, region = "us-east-1", pathStyle = options.endpoint !== undefined } = options;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/.test(bucket)) {
    throw invalid("bucket", `${JSON.stringify(bucket)} is not the name of a bucket`);
  }
  checkNumber("maxAttempts", options.maxAttempts, 20);
  checkNumber("pageSize", options.pageSize, 1000);
  checkNumber("requestTimeoutMs", options.requestTimeoutMs, 3_600_000);
  const prefix = (options.prefix ?? "").replace(/^\/+|\/+$/g, "");
  if (new TextEncoder().encode(prefix).length > 120) {
    throw invalid("prefix", "the prefix has more than 120 bytes");
  }
  const url = parseEndpoint(options.endpoint ?? `https://s3.${region}.amazonaws.com`);
  const path = url.pathname.replace(/\/+$/, "");
  return {
    name: `s3://${bucket}${prefix === "" ? "" : `/${prefix}`}`,
    bucket,
    host: url.host,
    bucketUrl: pathStyle
      ? `${url.protocol}//${url.host}${path}/${bucket}`
      : `${url.protocol}//${bucket}.${url.host}${path}`,
    root: prefix === "" ? "" : `${prefix}/`,
    region,
  };
}

function parseEndpoint(endpoint: string): URL {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw invalid("endpoint", `${JSON.stringify(endpoint)} is not a URL`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw invalid("endpoint", `the endpoint begins with ${url.protocol}, use http: or https:`);
  }
  if (url.username !== "" || url.password !== "") {
    throw invalid("endpoint", "the endpoint must not contain keys; hand them in as credentials");
  }
  return url;
}

function checkNumber(field: string, value: number | undefined, most: number): void {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= most)) return;
  throw invalid(field, `${field} is ${value}, use a whole number from 1 to ${most}`);
}

function invalid(field: string, message: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", message, { field });
}
