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
import type { MetaSpec } from "../config/locations.ts";
import type { Config } from "../config/schema/mod.ts";
import { openObjectStore, type S3Access } from "./object-store.ts";

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

/** Opens the store; for this process alone unless others may share it. */
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
