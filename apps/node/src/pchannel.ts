/**
 * One pchannel at its owner: its log, its flusher, and what is kept of both.
 *
 * @module
 */

import { createFlusher, type FlushBudget, type Flusher, type SealLimits } from "@millrace/flusher";
import type { ObjectStore } from "@millrace/storage";
import {
  type Clock,
  type Live,
  type Logger,
  MillraceError,
  type Random,
  type TickSource,
  withTimeLimit,
} from "@millrace/types";
import { type LogBackend, type OpenWalOptions, openWal, type Wal } from "@millrace/wal";
import { createKeeper } from "./keeper.ts";
import type { Snapshots } from "./recovery.ts";
import { createRetention, type RetentionLimits } from "./retention.ts";
import type { PchannelSnapshot } from "./snapshot-codec.ts";

/** What may be said of each log. */
export type LogLimits = Pick<
  OpenWalOptions,
  | "maxBatchBytes"
  | "maxWaitingBytes"
  | "maxKeys"
  | "maxOpenTxns"
  | "maxOpenTxnBytes"
  | "tickMs"
  | "slowBatchMs"
  | "txnLeaseMs"
  | "tailBytes"
  | "tailMs"
  | "throttle"
> & {
  /** When a segment is full: its rows, and its bytes. */
  segments?: { rows?: number; bytes?: number } | undefined;
};

/** What all pchannels of a node share. */
export interface PchannelContext {
  backend: LogBackend;
  store: ObjectStore;
  snapshots: Snapshots;
  ticks: TickSource;
  budget: FlushBudget;
  flush: Live<Partial<SealLimits>>;
  /** Bytes of rows that may wait in memory to be flushed, of one pchannel. */
  flushBytesPerLog: number | undefined;
  retention: Live<RetentionLimits>;
  wal: LogLimits;
  /** How often snapshots are taken at most, in milliseconds. */
  snapshotMs: Live<number>;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** An open pchannel. */
export interface OpenPchannel {
  readonly name: string;
  readonly term: number;
  readonly wal: Wal;
  readonly flusher: Flusher;
  /** Aborted when it cannot be written any more; the reason is the error. */
  readonly signal: AbortSignal;
  /** Ends appends and readers, keeps what the next owner needs, and lets the log go. */
  close(): Promise<void>;
}

/** The rows of one insert, 64 MiB at most, may all be of one vchannel; their headers come on top. */
const maxAppendBytes = 65 * 1024 * 1024;
/** How long an opening waits for the snapshot, in milliseconds. */
const claimMs = 5000;
/** How long a closing waits for the snapshot, in milliseconds. */
const closeMs = 3000;

/**
 * Opens a pchannel at a term. If the object store is away the log is opened all the same, provided
 * that it still has its first batch; else `UNAVAILABLE`.
 */
export async function openPchannel(
  name: string,
  term: number,
  context: PchannelContext,
  signal: AbortSignal,
): Promise<OpenPchannel> {
  const { snapshot, problem } = await claim(name, term, context, signal);
  const wal = await openLog(name, term, context, snapshot, problem, signal);
  try {
    return serveLog(wal, context, snapshot);
  } catch (error) {
    await wal.close();
    throw error;
  }
}

function serveLog(
  wal: Wal,
  context: PchannelContext,
  snapshot: PchannelSnapshot | undefined,
): OpenPchannel {
  const { store, budget, clock, random, logger } = context;
  const { pchannel, term } = wal;
  const retention = createRetention(context.retention, snapshot?.retention);
  const flusher = createFlusher({
    pchannel,
    term,
    wal,
    store,
    from: snapshot?.flusher,
    limits: context.flush,
    bufferBytes: context.flushBytesPerLog,
    budget,
    clock,
    random,
    logger,
    onBatch: (batch) => retention.observe(batch),
  });
  const keeper = createKeeper({
    pchannel,
    term,
    wal,
    retention,
    take: () => ({
      wal: wal.snapshot(),
      flusher: flusher.snapshot(),
      retention: retention.snapshot(),
    }),
    snapshots: context.snapshots,
    intervalMs: context.snapshotMs,
    clock,
    logger,
  });
  flusher.start();
  keeper.start();

  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await Promise.all([keeper.stop(), flusher.close()]);
    const healthy = !wal.signal.aborted;
    await wal.close();
    if (healthy) await keeper.saveLast(closeMs);
    logger.info("pchannel closed", { pchannel, term });
  };
  return {
    name: pchannel,
    term,
    wal,
    flusher,
    signal: AbortSignal.any([wal.signal, keeper.signal]),
    close() {
      closed ??= close();
      return closed;
    },
  };
}

interface Claimed {
  snapshot: PchannelSnapshot | undefined;
  /** Why the snapshot is not known, if it is not. */
  problem: MillraceError | undefined;
}

async function claim(
  name: string,
  term: number,
  { snapshots, clock, logger }: PchannelContext,
  signal: AbortSignal,
): Promise<Claimed> {
  try {
    const snapshot = await withTimeLimit(clock, claimMs, signal, (limit) =>
      snapshots.claim(name, term, limit),
    );
    return { snapshot, problem: undefined };
  } catch (error) {
    if (signal.aborted || MillraceError.is(error, "CHANNEL_FENCED")) throw error;
    const problem = MillraceError.from(error);
    const { code, message } = problem;
    logger.warn("the snapshot cannot be read", { pchannel: name, term, code, reason: message });
    return { snapshot: undefined, problem };
  }
}

async function openLog(
  pchannel: string,
  term: number,
  { backend, ticks, clock, random, logger, wal }: PchannelContext,
  snapshot: PchannelSnapshot | undefined,
  problem: MillraceError | undefined,
  signal: AbortSignal,
): Promise<Wal> {
  const options = {
    ...wal,
    backend,
    pchannel,
    term,
    ticks,
    clock,
    logger,
    maxAppendBytes,
    segments: { ...wal.segments, random },
    keepSnapshots: false,
    signal,
  };
  try {
    return await openWal({ ...options, snapshot: snapshot?.wal });
  } catch (error) {
    // The log needs the snapshot, for its beginning is gone.
    if (!problem || !MillraceError.is(error, "DATA_LOSS")) throw error;
    if (problem.code === "DATA_LOSS") throw problem;
    throw new MillraceError(
      "UNAVAILABLE",
      `${pchannel} cannot be opened without its snapshot: ${problem.message}`,
      { cause: problem },
    );
  }
}
