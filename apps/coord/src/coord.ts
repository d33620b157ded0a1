/**
 * The coordinator's life: standby, active, closed.
 *
 * @module
 */

import type { BalancePolicy } from "@millrace/balancer";
import type { Routes, TransportFor } from "@millrace/rpc";
import type { Lease, MetaStore } from "@millrace/storage";
import {
  type Clock,
  type Logger,
  MillraceError,
  pchannelName,
  type Random,
  silentLogger,
} from "@millrace/types";
import { clusterStatus } from "./admin.ts";
import { type Cluster, openCluster } from "./cluster.ts";
import { takeLeadership } from "./leadership.ts";
import { createRoutes } from "./services.ts";

/** Options of {@linkcode createCoord}. */
export interface CoordOptions {
  /** Where everything is kept. Left open by the coordinator. */
  meta: MetaStore;
  /** How nodes are reached. */
  transportFor: TransportFor;
  /** How many pchannels the cluster has, 1 to 1024. Default 16. A later start may raise it. */
  pchannels?: number;
  /** What their names begin with. Default `millrace`. */
  prefix?: string;
  /** How long a node lives without a heartbeat, and the lead without renewal, in ms. Default 5000. */
  leaseMs?: number;
  /**
   * How pchannels may be placed: the first is in force until an operator chooses another. Default:
   * `vchannel-fair` and `pchannel-fair`.
   */
  policies?: readonly BalancePolicy[];
  /** A pchannel that holds shards stays for so long unless it must move, in ms. Default 300000. */
  minRebalanceIntervalMs?: number;
  /** How long a caller waits for a change of the catalog, which goes on, in ms. Default 30000. */
  ddlWaitMs?: number;
  /**
   * No other process can use the MetaStore (its folder is locked), so the lead need not be taken, nor
   * the end of a dead one's lease be waited for. Default `false`.
   */
  exclusive?: boolean;
  /** Called once if the lead is lost; nothing is served from then on. Must not throw. */
  onLost?: (reason: unknown) => void;
  clock: Clock;
  random: Random;
  /** Default: silent. */
  logger?: Logger;
}

/** A coordinator. */
export interface Coord {
  /** Its services. They answer `UNAVAILABLE` unless it is active. */
  routes: Routes;
  /**
   * Becomes active. Waits for nothing but the MetaStore, and for at most `leaseMs` if a coordinator
   * died; `PRECONDITION_FAILED` if another one is active.
   */
  start(): Promise<void>;
  /** Stops all work and gives the lead up. */
  close(): Promise<void>;
}

/**
 * Creates a coordinator. All that it promises is in the MetaStore before it is acted on, so that it
 * may be killed at any moment and started again.
 */
export function createCoord(options: CoordOptions): Coord {
  const { meta, transportFor, clock, random, logger = silentLogger } = options;
  const { leaseMs = 5000, ddlWaitMs = 30_000, policies, minRebalanceIntervalMs } = options;
  const pchannels = pchannelNames(options);
  const closing = new AbortController();
  let cluster: Cluster | undefined;
  let lease: Lease | undefined;
  let lost = false;

  const active = (): Cluster => {
    if (cluster && !lost && !closing.signal.aborted) return cluster;
    throw new MillraceError("UNAVAILABLE", "this coordinator is not active; try again", {
      retryAfterMs: 200,
    });
  };

  const lose = async (reason: unknown): Promise<void> => {
    if (lost || closing.signal.aborted) return;
    lost = true;
    logger.error("the lead is lost, this coordinator stops", { reason });
    await cluster?.close();
    options.onLost?.(reason);
  };

  const lead = async (): Promise<void> => {
    const taken = await takeLeadership({ meta, leaseMs, clock, signal: closing.signal });
    lease = taken;
    taken.signal.addEventListener("abort", () => void lose(taken.signal.reason), { once: true });
  };

  return {
    routes: createRoutes({
      active,
      leaseMs,
      status: (parts, signal) => clusterStatus({ ...parts, clock, logger }, signal),
    }),
    async start() {
      if (!options.exclusive) await lead();
      try {
        cluster = await openCluster({
          meta,
          transportFor,
          pchannels,
          policies,
          minRebalanceIntervalMs,
          leaseMs,
          ddlWaitMs,
          onFenced: (reason) => void lose(reason),
          clock,
          random,
          logger,
        });
      } catch (error) {
        closing.abort(error);
        await lease?.release();
        throw error;
      }
      if (lost || closing.signal.aborted) await cluster.close();
      logger.info("coordinator active", { meta: meta.name, pchannels: pchannels.length });
    },
    async close() {
      closing.abort(new MillraceError("UNAVAILABLE", "the coordinator is closing"));
      await cluster?.close();
      await lease?.release();
    },
  };
}

function pchannelNames({ pchannels = 16, prefix = "millrace" }: CoordOptions): string[] {
  if (!Number.isInteger(pchannels) || pchannels < 1 || pchannels > 1024) {
    throw new MillraceError("INVALID_ARGUMENT", `pchannels must be 1 to 1024, got ${pchannels}`, {
      field: "pchannels",
    });
  }
  return Array.from({ length: pchannels }, (_, index) => pchannelName(prefix, index));
}
