/**
 * The metadata store that flags ask for.
 *
 * @module
 */

import {
  createEtcdMetaStore,
  createMemoryMetaStore,
  type EtcdCredentials,
  type MetaStore,
} from "@millrace/storage";
import { createFileMetaStore } from "@millrace/storage/file";
import type { Logger } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { InvalidArgumentError, type Option } from "commander";
import { usageError } from "../errors.ts";
import { flag } from "../options.ts";
import { resolveFolder } from "./object-store.ts";

/** Where metadata is, as a flag says it. */
export type MetaSpec =
  | { type: "memory" }
  | { type: "file"; dir: string }
  | { type: "etcd"; endpoints: string[]; prefix: string };

/** `--meta SPEC`. */
export function metaFlag(): Option {
  return flag(
    "--meta <spec>",
    "where metadata is: file:DIR, etcd://HOST:PORT,…/PREFIX (etcds: by TLS), or memory, which keeps nothing",
  )
    .argParser(parseMetaSpec)
    .default({ type: "file", dir: resolveFolder("millrace-meta") }, "file:./millrace-meta");
}

/**
 * Reads `file:DIR`, `etcd://HOST:PORT,HOST:PORT/PREFIX`, `etcds://…` or `memory`. Throws
 * `InvalidArgumentError`.
 */
export function parseMetaSpec(text: string): MetaSpec {
  if (text === "memory") return { type: "memory" };
  const file = /^file:(.+)$/.exec(text);
  if (file?.[1]) return { type: "file", dir: resolveFolder(file[1]) };
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
    "Give file:DIR, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX or memory.",
  );
}

/** `true` if other processes can use the store at the same time. */
export function isShared(spec: MetaSpec): boolean {
  return spec.type === "etcd";
}

/** Opens the store; but for etcd, for this process alone. */
export async function openMetaStore(spec: MetaSpec, logger?: Logger): Promise<MetaStore> {
  if (spec.type === "memory") return createMemoryMetaStore({ clock: systemClock });
  if (spec.type === "file") return await createFileMetaStore({ dir: spec.dir, clock: systemClock });
  const credentials = etcdCredentials(process.env);
  return createEtcdMetaStore({
    ...{ endpoints: spec.endpoints, prefix: spec.prefix },
    ...(credentials ? { credentials } : {}),
    ...(logger ? { logger } : {}),
    ...{ clock: systemClock, random: systemRandom },
  });
}

/** The user from its variables, if there is one. Throws an error of usage if half of it is missing. */
export function etcdCredentials(env: NodeJS.ProcessEnv): EtcdCredentials | undefined {
  const { MILLRACE_ETCD_USER: name, MILLRACE_ETCD_PASSWORD: password } = env;
  if (!name && !password) return undefined;
  if (name && password) return { name, password };
  throw usageError("a user of etcd needs MILLRACE_ETCD_USER and MILLRACE_ETCD_PASSWORD");
}
