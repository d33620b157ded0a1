/**
 * The proxy: what clients call, wired to the coordinator and the nodes.
 *
 * @module
 */

import type { DescService } from "@bufbuild/protobuf";
import { createClient, type ServiceImpl, type Transport } from "@connectrpc/connect";
import type { Routes, TransportFor } from "@millrace/rpc";
import {
  type Clock,
  type Live,
  type Logger,
  MillraceError,
  type Random,
  readLive,
} from "@millrace/types";
import {
  AdminService,
  AllocatorService,
  CatalogService,
  type Collection,
  ProxyService,
} from "@millrace/types/gen";
import { forwardAdmin } from "./admin.ts";
import { createAdmission } from "./admission.ts";
import { type Assignments, discoverAssignments } from "./assignments.ts";
import { createCatalogCache } from "./catalog-cache.ts";
import type { ProxyContext } from "./context.ts";
import { createDdl } from "./ddl.ts";
import { deleteKeys } from "./delete.ts";
import { flush, getFlushState } from "./flush.ts";
import { createIdSource } from "./ids.ts";
import { insert } from "./insert.ts";
import { type ProxyLimits, proxyLimits } from "./limits.ts";
import { createOwners } from "./owners.ts";
import { retryUnavailable, waitForCoordinator } from "./retry.ts";
import { createScope } from "./scope.ts";
import { tail } from "./tail.ts";
import { createTailMemory } from "./tail-memory.ts";

/** Options of {@linkcode createProxy}. */
export interface ProxyOptions {
  /** To the coordinator. */
  coord: Transport;
  /** To nodes, by their address. */
  transportFor: TransportFor;
  clock: Clock;
  random: Random;
  logger: Logger;
  /** What it takes; asked for with each call if it is a function. */
  limits?: Live<Partial<ProxyLimits>>;
}

/** A proxy. */
export interface MillraceProxy {
  /** ProxyService, and AdminService, which is the coordinator's. */
  routes: Routes;
  /** Resolves when the coordinator has said who owns what; rejects if the proxy is closed before. */
  start(): Promise<void>;
  /** Ends tails, and lets go of the coordinator. Calls under way fail with `ON_SHUTDOWN`. */
  close(): Promise<void>;
}

/** The services that a proxy's routes answer. */
export const proxyServices: readonly DescService[] = [ProxyService, AdminService];

/** A proxy between clients and a cluster. It keeps no state that is not also elsewhere. */
export function createProxy(options: ProxyOptions): MillraceProxy {
  const closing = new AbortController();
  let assignments: Assignments | undefined;
  let context: ProxyContext | undefined;

  const started = (): ProxyContext => {
    if (context && !closing.signal.aborted) return context;
    throw new MillraceError("UNAVAILABLE", "the proxy is not serving; try again in a moment");
  };
  /** Runs a call that ends with the proxy. */
  const scoped = async <T>(
    signal: AbortSignal,
    call: (context: ProxyContext, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const scope = createScope(signal, closing.signal);
    try {
      return await call(started(), scope.signal);
    } finally {
      scope.release();
    }
  };
  const service: Partial<ServiceImpl<typeof ProxyService>> = {
    insert: (request, { signal }) => scoped(signal, (all, end) => insert(all, request, end)),
    delete: (request, { signal }) => scoped(signal, (all, end) => deleteKeys(all, request, end)),
    flush: (request, { signal }) => scoped(signal, (all, end) => flush(all, request, end)),
    getFlushState: (request, { signal }) =>
      scoped(signal, (all, end) => getFlushState(all, request, end)),
    async *tail(request, { signal }) {
      const scope = createScope(signal, closing.signal);
      try {
        yield* tail(started(), request, scope.signal);
      } finally {
        scope.release();
      }
    },
  };

  return {
    routes(router) {
      router.service(ProxyService, { ...createDdl(started), ...service });
      router.service(AdminService, forwardAdmin(options.coord, patientCoord(options)));
    },
    async start() {
      assignments ??= discoverAssignments(options);
      context ??= createContext(options, assignments);
      await assignments.ready(closing.signal);
    },
    async close() {
      closing.abort(new MillraceError("ON_SHUTDOWN", "the proxy is shutting down; try another"));
      assignments?.close();
    },
  };
}

/** To the coordinator; changes wait for one that leads. */
function patientCoord(options: ProxyOptions): Transport {
  const { coord, clock, random } = options;
  const limits = limitsOf(options);
  return waitForCoordinator(coord, () => ({ clock, random, timeoutMs: limits().ownerTimeoutMs }));
}

/** Answers the limits in force. */
function limitsOf({ limits = {} }: ProxyOptions): () => ProxyLimits {
  const read = readLive(limits);
  return () => proxyLimits(read());
}

function createContext(options: ProxyOptions, assignments: Assignments): ProxyContext {
  const { coord, transportFor, clock, random, logger } = options;
  const limits = limitsOf(options);
  const timeoutMs = (): number => limits().ownerTimeoutMs;
  const retry = (signal: AbortSignal) => ({ clock, random, timeoutMs: timeoutMs(), signal });
  const catalog = createClient(CatalogService, patientCoord(options));
  const allocator = createClient(AllocatorService, coord);

  const describe = async (name: string, signal: AbortSignal): Promise<Collection> => {
    const { collection } = await retryUnavailable(
      () => catalog.catalogDescribeCollection({ name }, { signal }),
      retry(signal),
    );
    if (collection?.schema) return collection;
    throw new MillraceError("INNER", `the catalog answered without the schema of ${name}`);
  };
  const collections = createCatalogCache(describe, () => limits().maxCollections);
  let revision = assignments.catalogRevision();
  assignments.onChange(() => {
    if (assignments.catalogRevision() === revision) return;
    revision = assignments.catalogRevision();
    collections.drop();
  });

  return {
    clock,
    random,
    logger,
    get limits() {
      return limits();
    },
    catalog,
    allocator,
    collections,
    owners: createOwners({
      assignments,
      coord,
      transportFor,
      clock,
      random,
      logger,
      timeoutMs,
    }),
    ids: createIdSource((count, signal) =>
      retryUnavailable(() => allocator.allocateIds({ count }, { signal }), retry(signal)),
    ),
    admit: createAdmission(() => limits().maxInFlightBytes),
    tailMemory: createTailMemory(() => limits().tailTxnBytes),
  };
}
