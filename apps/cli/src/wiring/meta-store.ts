/**
 * The metadata store that settings ask for.
 *
 * @module
 */

import {
  createEtcdMetaStore,
  createMemoryMetaStore,
  createObjectMetaStore,
  type EtcdCredentials,
  type MetaStore,
  type ObjectStore,
} from "@millrace/storage";
import { createFileMetaStore } from "@millrace/storage/file";
import type { Logger } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { InvalidArgumentError } from "commander";
import type { Config } from "../config/schema/mod.ts";
import { openObjectStore, resolveFolder, type S3Access } from "./object-store.ts";

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

/** How etcd is reached, as in `EtcdMetaStoreOptions`. */
export interface EtcdAccess {
  credentials?: EtcdCredentials;
  requestTimeoutMs?: number;
  callTimeoutMs?: number;
}

/** Options of {@linkcode openMetaStore}. */
export interface OpenMetaOptions {
  logger?: Logger;
  /** How S3 is reached, if it is there. */
  s3?: S3Access;
  /** How etcd is reached, if it is there. */
  etcd?: EtcdAccess;
}

/** Opens the store; for this process alone unless it {@linkcode isShared}. */
export async function openMetaStore(
  spec: MetaSpec,
  options: OpenMetaOptions = {},
): Promise<MetaStore> {
  const shared = { clock: systemClock, random: systemRandom };
  const logging = options.logger ? { logger: options.logger } : {};
  switch (spec.type) {
    case "memory":
      return createMemoryMetaStore({ clock: systemClock });
    case "file":
      return await createFileMetaStore({ dir: spec.dir, clock: systemClock });
    case "objects": {
      const objects = await openObjectStore(spec.store, options);
      const meta = createObjectMetaStore(objects, { prefix: "meta/coord", ...shared, ...logging });
      return closingBoth(meta, objects);
    }
    case "etcd": {
      const { endpoints, prefix } = spec;
      return createEtcdMetaStore({ endpoints, prefix, ...options.etcd, ...shared, ...logging });
    }
  }
}

function closingBoth(meta: MetaStore, objects: ObjectStore): MetaStore {
  return {
    name: meta.name,
    get: (key, options) => meta.get(key, options),
    list: (prefix, options) => meta.list(prefix, options),
    put: (key, value, options) => meta.put(key, value, options),
    delete: (key, options) => meta.delete(key, options),
    watch: (prefix, options) => meta.watch(prefix, options),
    lease: (key, options) => meta.lease(key, options),
    async close() {
      await meta.close();
      await objects.close();
    },
  };
}

/** How settings say that etcd is reached. */
export function etcdAccessOf(config: Config): EtcdAccess {
  const name = config["etcd.user"];
  const password = config["etcd.password"];
  return {
    ...(name !== undefined && password !== undefined && { credentials: { name, password } }),
    requestTimeoutMs: config["etcd.requestTimeout"],
    callTimeoutMs: config["etcd.callTimeout"],
  };
}
