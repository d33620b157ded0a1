/**
 * Opens a pchannel's log at its owner: replays it, then appends and reads.
 *
 * @module
 */

import {
  type Clock,
  type Logger,
  MillraceError,
  type Random,
  silentLogger,
  type TickSource,
} from "@millrace/types";
import type { ThrottleOptions } from "./append/throttle.ts";
import type { Crc32 } from "./crc32.ts";
import { createWal } from "./create-wal.ts";
import type { Log, LogBackend } from "./log.ts";
import { decodeWalSnapshot } from "./snapshot-codec.ts";
import type { Wal, WalSnapshot } from "./wal.ts";
import { createWalState, type WalState } from "./wal-state.ts";

/** Options of {@linkcode openWal}. */
export interface OpenWalOptions {
  backend: LogBackend;
  pchannel: string;
  /** The owner's term, from 1; higher than all before it. */
  term: number;
  ticks: TickSource;
  /**
   * What a former owner kept. Default: what the backend keeps beside the log, if it does; without either
   * the whole log is replayed.
   */
  snapshot?: WalSnapshot | undefined;
  /** Keeps snapshots beside the log, if the backend can. Default: unless `snapshot` is given. */
  keepSnapshots?: boolean | undefined;
  /**
   * Drives what goes on without appends: time ticks every 200 ms, leases, the age of the tail; and times
   * the stages. Default: ticks and leases move with appends alone, and nothing is timed.
   */
  clock?: Clock | undefined;
  /** Default: nothing is logged. */
  logger?: Logger | undefined;
  /** Ends the opening. */
  signal?: AbortSignal | undefined;
  /**
   * Which vchannels may be written: those that a CREATE_COLLECTION message created (`created`, the
   * default), or `any`.
   */
  vchannels?: "created" | "any" | undefined;
  /** When the segments that inserts belong to are full. Default: inserts belong to no segments. */
  segments?: { rows?: number; bytes?: number; random: Random } | undefined;
  /** How many idempotency keys are remembered. Default 262 144. */
  maxKeys?: number | undefined;
  /** The largest append, in bytes as encoded. Default 16 MiB. */
  maxAppendBytes?: number | undefined;
  /** Appends are gathered into batches of up to this many bytes. Default 4 MiB. */
  maxBatchBytes?: number | undefined;
  /** How many bytes may wait to be written; more is `RESOURCE_EXHAUSTED`. Default 64 MiB. */
  maxWaitingBytes?: number | undefined;
  /** The most transactions that may be open. Default 1024. */
  maxOpenTxns?: number | undefined;
  /** The most bytes of open transactions, which readers must hold. Default 64 MiB. */
  maxOpenTxnBytes?: number | undefined;
  /** Limits the rate of inserts and deletes. Needs a clock. Default: no limit. */
  throttle?: Omit<ThrottleOptions, "clock"> | undefined;
  /** How many bytes of the newest batches are kept in memory for readers. Default 64 MiB. */
  tailBytes?: number | undefined;
  /** How long they are kept, in milliseconds. Default 30 000. */
  tailMs?: number | undefined;
  /** Default: the backend's, else the portable one. */
  crc32?: Crc32 | undefined;
}

/**
 * Opens a pchannel's log for writing, after fencing whoever wrote it at a lower term, and replays what
 * it needs. Errors: `CHANNEL_FENCED` if a higher term owns it; `DATA_LOSS` if it is damaged, or holds
 * less than the snapshot says, or begins behind the snapshot's end.
 */
export async function openWal(options: OpenWalOptions): Promise<Wal> {
  const { backend, pchannel, term, clock, snapshot, logger = silentLogger } = options;
  const began = clock?.monotonic() ?? 0;
  const mark = snapshot?.mark;
  const log = await backend.open(pchannel, term, { signal: options.signal, mark });
  try {
    const keeps = options.keepSnapshots ?? snapshot === undefined;
    const from = snapshot ?? (keeps ? readKept(log, logger) : undefined);
    const state = await replay(log, from, options);
    logger.info("log opened", {
      pchannel,
      term,
      backend: backend.name,
      ...log.bounds(),
      from: from?.sequence ?? log.bounds().first,
      vchannels: state.shards.vchannels.size,
      openTxns: state.txns.open.size,
      ...(clock ? { replayMs: clock.monotonic() - began } : {}),
    });
    const crc32 = options.crc32 ?? backend.crc32;
    return createWal(log, state, { ...options, logger, crc32, keepSnapshots: keeps });
  } catch (error) {
    await log.close();
    throw error;
  }
}

/** A snapshot beside the log that cannot be used costs a longer opening, unless the log needs it. */
function readKept(log: Log, logger: Logger): WalSnapshot | undefined {
  if (!log.kept) return undefined;
  try {
    const snapshot = decodeWalSnapshot(log.kept);
    const { first, next } = log.bounds();
    if (snapshot.sequence >= first && snapshot.sequence <= next) return snapshot;
    logger.warn("the snapshot of a log is of another one", { sequence: snapshot.sequence });
  } catch (error) {
    logger.warn("the snapshot of a log is damaged", { reason: MillraceError.from(error).message });
  }
  return undefined;
}

async function replay(
  log: Log,
  snapshot: WalSnapshot | undefined,
  options: OpenWalOptions,
): Promise<WalState> {
  const { maxKeys = 262_144, vchannels = "created" } = options;
  const { first, next } = log.bounds();
  const state = createWalState(maxKeys, snapshot);
  if (state.next > next) {
    throw new MillraceError(
      "DATA_LOSS",
      `the log ends at batch ${next}, but its snapshot at ${state.next}`,
      { expected: String(state.next) },
    );
  }
  const isCut = state.next < first;
  if (isCut && (snapshot || vchannels === "created")) {
    throw new MillraceError(
      "DATA_LOSS",
      `the log begins at batch ${first}, but what is known of it ends at ${state.next}`,
      { expected: String(state.next) },
    );
  }
  if (isCut) state.next = first;
  if (state.next < next) {
    const signal = options.signal ? { signal: options.signal } : {};
    for await (const batch of log.read(state.next, signal)) {
      // What stood before was truncated, and nothing is known of it.
      if (isCut && batch.sequence === first) state.checksum = batch.previousChecksum;
      state.applyBatch(batch);
    }
  }
  if (state.next !== next) {
    throw new MillraceError("DATA_LOSS", `the log ends at batch ${state.next}, not ${next}`, {
      expected: String(next),
    });
  }
  return state;
}
