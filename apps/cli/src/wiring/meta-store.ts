/**
 * The metadata store that flags ask for.
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
import { InvalidArgumentError, type Option } from "commander";
import { usageError } from "../errors.ts";
import { flag } from "../options.ts";
import { openObjectStore, resolveFolder, type S3Flags } from "./object-store.ts";

/** Where metadata is, as a flag says it. */
export type MetaSpec =
  | { type: "memory" }
  | { type: "file"; dir: string }
  /** Objects, for any number of processes: in a folder of this machine, or a bucket. */
  | { type: "objects"; store: string }
  | { type: "etcd"; endpoints: string[]; prefix: string };

/** `--meta SPEC`. */
export function metaFlag(): Option {
  return flag(
    "--meta <spec>",
    "where metadata is: file:DIR for one coordinator; for several shared:DIR on one machine, s3://bucket/prefix or etcd://HOST:PORT,…/PREFIX (etcds: by TLS); or memory, which keeps nothing",
  )
    .argParser(parseMetaSpec)
    .default({ type: "file", dir: resolveFolder("millrace-meta") }, "file:./millrace-meta");
}

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

/** Options of {@linkcode openMetaStore}. */
export interface OpenMetaOptions {
  logger?: Logger;
  /** How S3 is reached, if it is there. */
  s3?: S3Flags;
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
      const objects = await openObjectStore({ ...options.s3, store: spec.store }, options.logger);
      const meta = createObjectMetaStore(objects, { prefix: "meta/coord", ...shared, ...logging });
      return closingBoth(meta, objects);
    }
    case "etcd": {
      const credentials = etcdCredentials(process.env);
      return createEtcdMetaStore({
        ...{ endpoints: spec.endpoints, prefix: spec.prefix, ...shared, ...logging },
        ...(credentials ? { credentials } : {}),
      });
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

/** The user from its variables, if there is one. Throws an error of usage if half of it is missing. */
export function etcdCredentials(env: NodeJS.ProcessEnv): EtcdCredentials | undefined {
  const { MILLRACE_ETCD_USER: name, MILLRACE_ETCD_PASSWORD: password } = env;
  if (!name && !password) return undefined;
  if (name && password) return { name, password };
  throw usageError("a user of etcd needs MILLRACE_ETCD_USER and MILLRACE_ETCD_PASSWORD");
}
