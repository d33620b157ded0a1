/**
 * The coordinator's life: standing by while another leads, active while it leads, closed.
 *
 * @module
 */

import type { Routes, TransportFor } from "@millrace/rpc";
import type { MetaStore } from "@millrace/storage";
import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  pchannelName,
  type Random,
  silentLogger,
} from "@millrace/types";
import { clusterStatus } from "./admin.ts";
import {
  type Cluster,
  type CoordBalancerOptions,
  type CoordBroadcasterOptions,
  openCluster,
} from "./cluster.ts";
import { type Lead, takeLead } from "./leadership.ts";
import { createRoutes } from "./services.ts";

/** Options of {@linkcode createCoord}. */
export interface CoordOptions {
  /** Where everything is kept. Left open by the coordinator. */
  meta: MetaStore;
  /** How nodes are reached. */
  transportFor: TransportFor;
  /** Where this coordinator is reached, so that others can say so while it leads: a base URL. */
  address?: string;
  /** How many pchannels the cluster has, 1 to 1024. Default 16. A later start may raise it. */
  pchannels?: number;
  /** What their names begin with. Default `millrace`. */
  prefix?: string;
  /** How long a node lives without a heartbeat, in milliseconds. Default 5000. */
  leaseMs?: number;
  /**
   * How long the lead lasts without renewal, in milliseconds. Default 3000: less than nodes wait for
   * ticks, so that no insert fails when a coordinator is killed.
   */
  leadMs?: number;
  /** How pchannels are placed. */
  balancer?: CoordBalancerOptions;
  /** How many broadcasts there may be, and how long they are remembered. */
  broadcaster?: CoordBroadcasterOptions;
  /** How long a caller waits for a change of the catalog, which goes on, in ms. Default 30000. */
  ddlWaitMs?: number;
  /**
   * No other process can use the MetaStore (its folder is locked), so the lead need not be taken, nor
   * the end of a dead one's lease be waited for. Default `false`.
   */
  exclusive?: boolean;
  /**
   * Called once if it can never lead again, such as for damaged metadata that it found when it took
   * over; it answers `UNAVAILABLE` from then on. Must not throw.
   */
  onFailed?: (error: unknown) => void;
  clock: Clock;
  random: Random;
  /** Default: silent. */
  logger?: Logger;
}

/** A coordinator. */
export interface Coord {
  /**
   * Its services. While it does not lead, every call answers `UNAVAILABLE`, with the address of the
   * coordinator that does as `expected`, if that is known.
   */
  routes: Routes;
  /**
   * Begins; resolves when it leads, or stands by because another one leads. It takes the lead when that
   * one is gone, and stands by again when it has lost the lead itself. While the MetaStore is away it
   * goes on trying. Rejects if it cannot lead for a reason that does not pass, such as damaged metadata.
   */
  start(): Promise<void>;
  /** `true` while it leads. */
  isActive(): boolean;
  /** Stops all work and gives the lead up. */
  close(): Promise<void>;
}

/**
 * Creates a coordinator. All that it promises is in the MetaStore before it is acted on, so that it
 * may be killed at any moment, and another one goes on.
 */
export function createCoord(options: CoordOptions): Coord {
  const { meta, transportFor, address = "", exclusive = false, clock, random } = options;
  const { leaseMs = 5000, leadMs = 3000, ddlWaitMs = 30_000, balancer, broadcaster } = options;
  const { logger = silentLogger } = options;
  const pchannels = pchannelNames(options);
  const closing = new AbortController();
  let running: Promise<void> | undefined;
  let current: { lead: Lead; cluster: Cluster } | undefined;
  /** Where the coordinator is that leads; empty: not known. */
  let leader = "";

  const isActive = (): boolean => current?.lead.isHeld() === true && !closing.signal.aborted;

  const active = (): Cluster => {
    if (current && isActive()) return current.cluster;
    throw notActive(leader);
  };

  const onStandby = (other: string): void => {
    if (leader !== other) logger.info("another coordinator leads, standing by", { leader: other });
    leader = other;
  };

  const lead = async (taken: Lead, onActive: () => void): Promise<void> => {
    const cluster = await openCluster({
      meta: taken.meta,
      epoch: taken.epoch,
      ...{ transportFor, pchannels, balancer, broadcaster, leaseMs, ddlWaitMs },
      onFenced: taken.end,
      ...{ clock, random, logger },
    });
    try {
      current = { lead: taken, cluster };
      logger.info("coordinator active", {
        ...{ meta: meta.name, pchannels: pchannels.length, epoch: taken.epoch },
      });
      onActive();
      await aborted(taken.signal, closing.signal);
    } finally {
      current = undefined;
      await cluster.close();
    }
  };

  const onOver = ({ signal: { reason } }: Lead): void => {
    if (closing.signal.aborted) return;
    if (exclusive) throw notExclusive(meta.name, reason);
    logger.warn("the lead is lost, standing by", { reason });
  };

  /** Waits for the lead, and leads until that is over. `onSettled`: it leads, or another one does. */
  const standAndLead = async (onSettled: () => void): Promise<void> => {
    const taken = await takeLead({
      ...{ meta, address, leaseMs: leadMs, exclusive, clock, logger, signal: closing.signal },
      onStandby(other) {
        onStandby(other);
        onSettled();
      },
    });
    leader = "";
    try {
      await lead(taken, onSettled);
    } catch (error) {
      // What fails because the lead is lost is no failure of this coordinator.
      if (taken.isHeld()) throw error;
    } finally {
      await taken.release();
    }
    onOver(taken);
  };

  const run = async (onSettled: () => void): Promise<void> => {
    for (let failures = 0; !closing.signal.aborted; ) {
      try {
        await standAndLead(onSettled);
        failures = 0;
      } catch (error) {
        if (closing.signal.aborted) return;
        if (!isPassing(error)) throw error;
        logger.warn("this coordinator cannot lead, it will try again", { error });
        const pause = backoffDelay(failures++, random, { initialMs: 100, maxMs: 2000 });
        await delay(clock, pause, closing.signal).catch(() => undefined);
      }
    }
  };

  return {
    routes: createRoutes({
      active,
      leaseMs,
      status: (parts, signal) => clusterStatus({ ...parts, clock, logger }, signal),
    }),
    isActive,
    start() {
      return new Promise((resolve, reject) => {
        let settled = false;
        const onSettled = (): void => {
          settled = true;
          resolve();
        };
        running = run(onSettled).then(
          () => reject(closing.signal.reason),
          (error: unknown) => {
            reject(error);
            if (!settled) return;
            logger.error("this coordinator cannot lead any more", { error });
            options.onFailed?.(error);
          },
        );
      });
    },
    async close() {
      closing.abort(new MillraceError("UNAVAILABLE", "the coordinator is closing"));
      await running;
    },
  };
}

function notActive(leader: string): MillraceError {
  const retryAfterMs = 200;
  if (leader === "") {
    const message = "this coordinator does not lead; try again, or another one";
    return new MillraceError("UNAVAILABLE", message, { retryAfterMs });
  }
  const message = `this coordinator does not lead, the one at ${leader} does`;
  return new MillraceError("UNAVAILABLE", message, { expected: leader, retryAfterMs });
}

function notExclusive(name: string, cause: unknown): MillraceError {
  return new MillraceError(
    "PRECONDITION_FAILED",
    `another coordinator works on ${name}, which was to be this one's alone; stop one of them`,
    { cause },
  );
}

/** Errors that may be gone at the next try. */
function isPassing(error: unknown): boolean {
  if (!MillraceError.is(error)) return false;
  return error.retryable || error.maybeApplied || error.code === "DEADLINE_EXCEEDED";
}

/** Resolves when either signal is aborted. */
function aborted(one: AbortSignal, other: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      one.removeEventListener("abort", done);
      other.removeEventListener("abort", done);
      resolve();
    };
    one.addEventListener("abort", done);
    other.addEventListener("abort", done);
    if (one.aborted || other.aborted) done();
  });
}

function pchannelNames({ pchannels = 16, prefix = "millrace" }: CoordOptions): string[] {
  if (!Number.isInteger(pchannels) || pchannels < 1 || pchannels > 1024) {
    throw new MillraceError("INVALID_ARGUMENT", `pchannels must be 1 to 1024, got ${pchannels}`, {
      field: "pchannels",
    });
  }
  return Array.from({ length: pchannels }, (_, index) => pchannelName(prefix, index));
}
