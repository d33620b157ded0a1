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
import { type Logger, MillraceError } from "@millrace/types";
import { HandlerService, ManagerService } from "@millrace/types/gen";
import type { Io } from "../io.ts";
import type { ListenAddress } from "../options.ts";
import { type Closers, createClosers } from "./closers.ts";
import { type LogSpec, openLogBackend } from "./log-backend.ts";
import { memoryPressure } from "./memory.ts";
import { openMetaStore } from "./meta-store.ts";
import { type ObjectStoreFlags, openObjectStore } from "./object-store.ts";
import { localUrlOf, withPort } from "./own-address.ts";
import { coordServices, type LogLevel, serve, serviceLogger } from "./serve.ts";

/** Flags of `millrace standalone`. */
export interface StandaloneFlags extends Partial<ObjectStoreFlags> {
  listen: ListenAddress;
  data: string;
  wal: LogSpec;
  pchannels: number;
  logLevel: LogLevel;
}

/** Runs until it is interrupted. */
export async function runStandalone(io: Io, flags: StandaloneFlags): Promise<void> {
  const logger = serviceLogger(io, flags.logLevel);
  const data = resolve(flags.data);
  const closers = createClosers();
  try {
    const lock = await lockFolder(data);
    closers.defer(() => lock.release());
    const listen = await withPort(flags.listen);
    const cluster = await openCluster({ io, flags, data, logger, closers, listen });
    await serve({ ...{ io, logger }, address: listen, ...cluster });
  } finally {
    await closers.close();
  }
}

interface ClusterContext {
  io: Io;
  flags: StandaloneFlags;
  data: string;
  logger: Logger;
  closers: Closers;
  listen: ListenAddress;
}

async function openCluster(context: ClusterContext) {
  const { io, flags, data, logger, closers, listen } = context;
  const { clock, random } = io;
  const shared = { clock, random, logger };
  const keepsNothing = flags.wal.type === "memory";
  const store = closers.add(await openTables(context));
  const meta = closers.add(
    await openMetaStore(
      keepsNothing ? { type: "memory" } : { type: "file", dir: join(data, "meta") },
    ),
  );
  const backend = closers.add(openLogBackend(flags.wal, data));
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
      ...{ meta, transportFor, ...shared },
      pchannels: flags.pchannels,
      // The folder is locked, or the metadata is in this process.
      exclusive: true,
      onFailed: (error) => failed.abort(error),
    }),
  );
  const coordTransport = createLocalTransport(coord.routes, { logger });
  const node = closers.add(
    createNode({
      ...{ nodeId: "standalone", address, coord: coordTransport, backend, store, ...shared },
      ...(keepsNothing ? { meta: createMemoryMetaStore({ clock }) } : {}),
      wal: { throttle: { pressure: memoryPressure } },
      // There is no other node that its pchannels could move to.
      drainMs: 0,
    }),
  );
  const proxy = closers.add(createProxy({ coord: coordTransport, transportFor, ...shared }));
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

async function openTables({ flags, data, logger }: ClusterContext): Promise<ObjectStore> {
  const keepsNothing = flags.wal.type === "memory";
  if (keepsNothing && flags.store === undefined) return createMemoryObjectStore();
  const { store = `file:${join(data, "store")}` } = flags;
  const opened = await openObjectStore({ ...flags, store }, logger);
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
