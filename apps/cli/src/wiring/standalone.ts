/**
 * Coordinator, node and proxy in one process: they call each other without a network.
 *
 * @module
 */

import { join, resolve } from "node:path";
import type { Transport } from "@connectrpc/connect";
import { createCoord } from "@millrace/coord";
import { createNode } from "@millrace/node";
import { createProxy, proxyServices } from "@millrace/proxy";
import { createLocalTransport, type Routes, type TransportFor } from "@millrace/rpc";
import { createTransportPool } from "@millrace/rpc/node";
import {
  createMemoryMetaStore,
  createMemoryObjectStore,
  type ObjectStore,
} from "@millrace/storage";
import { lockFolder } from "@millrace/storage/file";
import { MillraceError } from "@millrace/types";
import { HandlerService, ManagerService } from "@millrace/types/gen";
import { parseLogSpec } from "../config/locations.ts";
import type { Config } from "../config/schema/mod.ts";
import { parseListenAddress, type ListenAddress } from "../options.ts";
import { type Closers, createClosers } from "./closers.ts";
import { openLogBackend } from "./log-backend.ts";
import { openMetaStore } from "./meta-store.ts";
import { openObjectStore, s3AccessOf } from "./object-store.ts";
import { localUrlOf, withPort } from "./own-address.ts";
import { coordServices, serve } from "./serve.ts";
import type { ServiceContext } from "./service-context.ts";
import { coordOptionsOf, nodeOptionsOf, proxyOptionsOf } from "./service-options.ts";

/** Runs until it is interrupted. */
export async function runStandalone(service: ServiceContext): Promise<void> {
  const { io, config, logger } = service;
  const data = resolve(config["standalone.data"]);
  const closers = createClosers();
  try {
    const lock = await lockFolder(data);
    closers.defer(() => lock.release());
    const listen = await withPort(parseListenAddress(config["standalone.listen"]));
    const cluster = await openCluster({ ...service, data, closers, listen });
    await serve({
      ...{ io, logger, origins: config["http.origins"] },
      address: listen,
      ...cluster,
    });
  } finally {
    await closers.close();
  }
}

interface ClusterContext extends ServiceContext {
  data: string;
  closers: Closers;
  listen: ListenAddress;
}

async function openCluster(context: ClusterContext) {
  const { io, config, current, data, logger, closers, listen } = context;
  const { clock, random } = io;
  const shared = { clock, random, logger };
  const keepsNothing = isInMemory(config);
  const store = closers.add(await openTables(context));
  const meta = closers.add(
    await openMetaStore(
      keepsNothing ? { type: "memory" } : { type: "file", dir: join(data, "meta") },
    ),
  );
  const backend = closers.add(openLogBackend(config, data));
  const pool = closers.add(createTransportPool());
  const address = localUrlOf(listen);

  let nodeTransport: Transport | undefined;
  const transportFor: TransportFor = (url) => {
    if (url !== address) return pool.transportFor(url);
    nodeTransport ??= createLocalTransport(node.routes, { logger });
    return nodeTransport;
  };
  const failed = new AbortController();
  const coord = closers.add(
    createCoord({
      ...coordOptionsOf(current),
      ...{ meta, transportFor, ...shared },
      // The folder is locked, or the metadata is in this process.
      exclusive: true,
      onFailed: (error) => failed.abort(error),
    }),
  );
  const coordTransport = createLocalTransport(coord.routes, { logger });
  const node = closers.add(
    createNode({
      ...nodeOptionsOf(current),
      ...{ nodeId: "standalone", address, coord: coordTransport, backend, store, ...shared },
      ...(keepsNothing ? { meta: createMemoryMetaStore({ clock }) } : {}),
      // There is no other node that its pchannels could move to.
      drainMs: 0,
    }),
  );
  const toOthers = { coord: coordTransport, transportFor };
  const proxy = closers.add(createProxy({ ...proxyOptionsOf(current), ...toOthers, ...shared }));
  const routes: Routes = (router) => {
    coord.routes(router);
    node.routes(router);
    // Last, so that it is the proxy that answers AdminService, as in a cluster of processes.
    proxy.routes(router);
  };
  const services = new Set([...proxyServices, ...coordServices, HandlerService, ManagerService]);
  return {
    routes,
    services: [...services],
    failed: failed.signal,
    async start() {
      await coord.start();
      await node.start();
      await proxy.start();
    },
  };
}

function isInMemory(config: Config): boolean {
  return parseLogSpec(config["node.wal.backend"]).type === "memory";
}

async function openTables({ config, data, logger }: ClusterContext): Promise<ObjectStore> {
  const keepsNothing = isInMemory(config);
  if (keepsNothing && config.store === undefined) return createMemoryObjectStore();
  const { store = `file:${join(data, "store")}` } = config;
  const opened = await openObjectStore(store, { s3: s3AccessOf(config), logger });
  if (keepsNothing && (await holdsTables(opened))) {
    await opened.close();
    // Ids begin anew with the log, so that new tables would lie where old ones are.
    throw new MillraceError(
      "PRECONDITION_FAILED",
      `${opened.name} holds tables of an earlier run, which a log in memory would mix with its own; use another folder or prefix`,
    );
  }
  return opened;
}

async function holdsTables(store: ObjectStore): Promise<boolean> {
  for await (const _ of store.list({ prefix: "tables/" })) return true;
  return false;
}
