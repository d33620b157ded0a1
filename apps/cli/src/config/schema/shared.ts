/**
 * Settings of several services.
 *
 * @module
 */

import { choice, count, duration, origins, secret, text, toggle, url, urls } from "../kinds.ts";
import { parseStoreSpec } from "../locations.ts";
import { optional, type ServiceName, serviceNames, setting } from "../setting.ts";
import { hour, second } from "../units.ts";

const callers: readonly ServiceName[] = ["node", "proxy"];
const writers: readonly ServiceName[] = ["standalone", "node"];
const storing: readonly ServiceName[] = ["standalone", "coord", "node"];

/** Settings of several services. */
export const sharedSettings = {
  coordinators: setting<readonly string[]>(callers, urls(), [], "Where coordinators serve.", {
    flag: "--coord <urls>",
    requiredBy: callers,
  }),
  store: optional(
    writers,
    text("file:DIR or s3://bucket/prefix", parseStoreSpec),
    "Where tables and snapshots lie: file:DIR or s3://bucket/prefix.",
    { flag: "--store <spec>", requiredBy: ["node"], unset: "file:DATA/store in standalone" },
  ),
  "s3.endpoint": optional(storing, url(), "The S3 server.", {
    flag: "--s3-endpoint <url>",
    unset: "AWS",
  }),
  "s3.region": setting(storing, text("a name"), "us-east-1", "Region of the bucket.", {
    flag: "--s3-region <region>",
  }),
  "s3.pathStyle": optional(storing, toggle(), "The bucket is in the URL's path, not in its host.", {
    flag: "--s3-path-style",
    unset: "true with s3.endpoint",
  }),
  "s3.requestTimeout": setting(
    storing,
    duration(second, hour),
    30 * second,
    "How long a request may take without a byte of answer.",
  ),
  "s3.maxAttempts": setting(storing, count(1, 20), 5, "How often a request is sent at most."),
  "s3.accessKeyId": optional(storing, text("the id of a key"), "The key of S3.", {
    variable: "AWS_ACCESS_KEY_ID",
  }),
  "s3.secretAccessKey": optional(storing, secret("a key"), "The secret of that key.", {
    variable: "AWS_SECRET_ACCESS_KEY",
  }),
  "s3.sessionToken": optional(storing, secret("a token"), "The token of a temporary key.", {
    variable: "AWS_SESSION_TOKEN",
  }),
  "http.origins": setting<readonly string[]>(
    ["standalone", "proxy"],
    origins(),
    [],
    "Origins whose pages may call from a browser. `*` is all.",
    { unset: "none" },
  ),
  "log.level": setting(
    serviceNames,
    choice("debug", "info", "warn", "error"),
    "info",
    "What is logged on standard error, as JSON: debug, info, warn or error.",
    { flag: "--log-level <level>", hot: true },
  ),
};
