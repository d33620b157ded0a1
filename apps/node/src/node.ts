/**
 * The streaming node: owns pchannels, appends, serves readers, flushes.
 *
 * @module
 */

import { createClient, type Transport } from "@connectrpc/connect";
import { createFlushBudget, type SealLimits } from "@millrace/flusher";
import type { Routes } from "@millrace/rpc";
import { createObjectMetaStore, type MetaStore, type ObjectStore } from "@millrace/storage";
import {
  type Clock,
  type Live,
  type Logger,
  MillraceError,
  type Random,
  readLive,
  withTimeLimit,
} from "@millrace/types";
import {
  AllocatorService,
  AssignmentService,
  HandlerService,
  ManagerService,
  MembershipService,
} from "@millrace/types/gen";
import type { LogBackend } from "@millrace/wal";
import { createHandler } from "./handler.ts";
import { createManager } from "./manager.ts";
import { createMembership } from "./members.ts";
import { type LogLimits, openPchannel, type PchannelContext } from "./pchannel.ts";
import { createPchannels } from "./pchannels.ts";
import { createSnapshots } from "./recovery.ts";
import { defaultRetention, type RetentionLimits } from "./retention.ts";
import { createLeasedTicks } from "./ticks.ts";

/** Options of {@linkcode createNode}. */
export interface NodeOptions {
  /** Unique in the cluster, the same after a restart: 1 to 255 letters, digits or any of . _ : @ -. */
  nodeId: string;
  /** Where the coordinator and proxies reach it: a base URL. */
  address: string;
  /** Reaches the coordinator. */
  coord: Transport;
  /** Where logs are kept. Nodes that share it can take over from one another. */
  backend: LogBackend;
  /** Where tables and snapshots are kept. It may be away for any time. */
  store: ObjectStore;
  /** Where the pointers to snapshots are kept. Default: objects below `meta/node` of the store. */
  meta?: MetaStore | undefined;
  /** When rows are flushed. */
  flush?: Live<Partial<SealLimits>> | undefined;
  /** Bytes of rows that may wait in memory to be flushed, over all pchannels. Default 192 MiB. */
  flushBytes?: number | undefined;
  /** Of these, how many may be of one pchannel. Default 128 MiB. */
  flushBytesPerLog?: number | undefined;
  /** How long logs are kept for readers after their rows are in tables. */
  retention?: Live<Partial<RetentionLimits>> | undefined;
  /** Limits of each log, whose defaults are those of `openWal`; but `tailBytes` is 8 MiB. */
  wal?: LogLimits | undefined;
  /** How often snapshots are taken at most, in milliseconds. Default 10000. */
  snapshotMs?: Live<number> | undefined;
  /** How long closing waits for pchannels to move away, in milliseconds. Default 10000. */
  drainMs?: number | undefined;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** A streaming node. */
export interface StreamingNode {
  /** HandlerService and ManagerService. To be served before `start`. */
  routes: Routes;
  /** Joins the cluster; resolves when the coordinator has answered. */
  start(): Promise<void>;
  /** Lets its pchannels move away, closes those that have not, and leaves. */
  close(): Promise<void>;
}

/** How long the coordinator may take to hear of a failure, in milliseconds. */
const reportMs = 2000;

/**
 * Creates a streaming node.
 *
 * @example
 * ```ts
 * const node = createNode({ nodeId, address, coord, backend, store, clock, random, logger });
 * const server = await listen({ routes: node.routes, host, port });
 * await node.start();
 * ```
 */
export function createNode(options: NodeOptions): StreamingNode {
  const { nodeId, address, coord, backend, store, clock, random, logger } = options;
  const meta =
    options.meta ?? createObjectMetaStore(store, { prefix: "meta/node/", clock, random });
  const ticks = createLeasedTicks({
    allocator: createClient(AllocatorService, coord),
    clock,
    random,
    logger,
  });
  const retention = readLive(options.retention ?? {});
  const context: PchannelContext = {
    backend,
    store,
    snapshots: createSnapshots({ store, meta }),
    ticks,
    budget: createFlushBudget(options.flushBytes ? { bytes: options.flushBytes } : {}),
    flush: options.flush ?? {},
    flushBytesPerLog: options.flushBytesPerLog,
    retention: () => ({ ...defaultRetention, ...retention() }),
    wal: { tailBytes: 8 * 1024 * 1024, ...options.wal },
    snapshotMs: options.snapshotMs ?? 10_000,
    clock,
    random,
    logger,
  };
  const assignments = createClient(AssignmentService, coord);

  /** Clients would tell the coordinator too, but an idle pchannel has none. */
  const report = async (name: string, term: number, error: MillraceError): Promise<void> => {
    const pchannel = { name, term: BigInt(term) };
    const { code, message } = error;
    try {
      await withTimeLimit(clock, reportMs, undefined, (signal) =>
        assignments.reportError({ pchannel, code, message }, { signal }),
      );
    } catch (failure) {
      const reason = MillraceError.from(failure).message;
      logger.warn("a failure could not be reported", { pchannel: name, term, reason });
    }
  };

  const pchannels = createPchannels({
    open: (name, term, signal) => openPchannel(name, term, context, signal),
    onFailure: (name, term, error) => void report(name, term, error),
    logger,
  });
  const membership = createMembership({
    nodeId,
    address,
    membership: createClient(MembershipService, coord),
    held: () => pchannels.list(),
    drop: (name, term) => pchannels.remove(name, term),
    dropAll: () => pchannels.closeAll(),
    clock,
    random,
    logger,
  });
  const handler = createHandler({ pchannels, clock });
  const manager = createManager(pchannels);

  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await membership.drain(options.drainMs ?? 10_000);
    await pchannels.close();
    await membership.close();
    ticks.close();
    if (!options.meta) await meta.close();
  };
  return {
    routes(router) {
      router.service(HandlerService, handler);
      router.service(ManagerService, manager);
    },
    start: () => membership.join(),
    close() {
      closed ??= close();
      return closed;
    },
  };
}
