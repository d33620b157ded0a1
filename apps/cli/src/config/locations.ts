/**
 * Where a service keeps things, as settings say it.
 *
 * @module
 */

import { isAbsolute, resolve } from "node:path";
import { InvalidArgumentError } from "commander";

/** Where metadata is, as a setting says it. */
export type MetaSpec =
  | { type: "memory" }
  | { type: "file"; dir: string }
  /** Objects, for any number of processes: in a folder of this machine, or a bucket. */
  | { type: "objects"; store: string }
  | { type: "etcd"; endpoints: string[]; prefix: string };

/**
 * Reads `file:DIR`, `shared:DIR`, `s3://bucket/prefix`, `etcd://HOST:PORT,HOST:PORT/PREFIX`, `etcds://…`
 * or `memory`. Throws `InvalidArgumentError`.
 */
export function parseMetaSpec(text: string): MetaSpec {
  if (text === "memory") return { type: "memory" };
  const file = /^file:(.+)$/.exec(text);
  if (file?.[1]) return { type: "file", dir: resolveFolder(file[1]) };
  const shared = /^shared:(.+)$/.exec(text);
  if (shared?.[1]) return { type: "objects", store: `file:${shared[1]}` };
  if (/^s3:\/\/[^/]/.test(text)) return { type: "objects", store: text };
  const etcd = /^etcd(s?):\/\/([^/@]+)\/?(.*)$/.exec(text);
  if (etcd?.[2]) {
    const withPort = (host: string): string => (/:\d+$/.test(host) ? host : `${host}:2379`);
    const endpoints = etcd[2].split(",").map((host) => `http${etcd[1]}://${withPort(host)}`);
    const prefix = (etcd[3] ?? "").replace(/\/+$/, "") || "millrace";
    if (endpoints.every((endpoint) => URL.canParse(endpoint))) {
      return { type: "etcd", endpoints, prefix };
    }
  }
  throw new InvalidArgumentError(
    "Give file:DIR, shared:DIR, s3://bucket/prefix, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX or memory.",
  );
}

/** `true` if other processes can use the store at the same time. */
export function isShared(spec: MetaSpec): boolean {
  return spec.type === "etcd" || spec.type === "objects";
}

/** Where an object store is, as a setting says it. */
export type StoreSpec =
  | { type: "file"; dir: string }
  | { type: "s3"; bucket: string; prefix: string };

/** Reads `file:DIR` or `s3://bucket/prefix`. Throws `InvalidArgumentError`. */
export function parseStoreSpec(text: string): StoreSpec {
  const file = /^file:(.+)$/.exec(text);
  if (file?.[1]) return { type: "file", dir: resolveFolder(file[1]) };
  const s3 = /^s3:\/\/([^/]+)\/?(.*)$/.exec(text);
  if (s3?.[1]) return { type: "s3", bucket: s3[1], prefix: (s3[2] ?? "").replace(/\/+$/, "") };
  throw new InvalidArgumentError("Give file:DIR or s3://bucket/prefix.");
}

/** A folder of a `file:` location, also if it is written as a URL: `file:///data`. */
function resolveFolder(text: string): string {
  return isAbsolute(text) ? resolve(`/${text.replace(/^\/+/, "")}`) : resolve(text);
}

/** Where a log is, as a setting says it; a file log without a folder is under the data folder. */
export type LogSpec = { type: "memory" } | { type: "file"; dir: string | undefined };

/** Reads `file`, `file:DIR` or `memory`. Throws `InvalidArgumentError`. */
export function parseLogSpec(text: string): LogSpec {
  if (text === "memory") return { type: "memory" };
  if (text === "file") return { type: "file", dir: undefined };
  const match = /^file:(.+)$/.exec(text);
  if (match?.[1]) return { type: "file", dir: resolveFolder(match[1]) };
  throw new InvalidArgumentError("Give file, file:DIR or memory.");
}
