/**
 * Opens a pchannel's log at its owner: replays it, then appends and scans.
 *
 * @module
 */

import {
  type Clock,
  type Logger,
  MillraceError,
  silentLogger,
  type TickSource,
} from "@millrace/types";
import { admitAppends } from "./admission.ts";
import type { Crc32 } from "./crc32.ts";
import type { Log, LogBackend } from "./log.ts";
import { scan } from "./scanner.ts";
import { createSequencer } from "./sequencer.ts";
import { createTailBuffer } from "./tail-buffer.ts";
import type { Wal, WalSnapshot } from "./wal.ts";
import { createWalState, type WalState } from "./wal-state.ts";

/** Options of {@linkcode openWal}. */
export interface OpenWalOptions {
  backend: LogBackend;
  pchannel: string;
  /** The owner's term, from 1; higher than all before it. */
  term: number;
  ticks: TickSource;
  /** What a former owner kept; without it the whole log is replayed. */
  snapshot?: WalSnapshot | undefined;
  /** Times the replay. Default: it is not timed. */
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
  /** How many idempotency keys are remembered. Default 262 144. */
  maxKeys?: number | undefined;
  /** The largest append, in bytes as encoded. Default 16 MiB. */
  maxAppendBytes?: number | undefined;
  /** Appends are gathered into batches of up to this many bytes. Default 4 MiB. */
  maxBatchBytes?: number | undefined;
  /** How many bytes may wait to be written; more is `RESOURCE_EXHAUSTED`. Default 64 MiB. */
  maxWaitingBytes?: number | undefined;
  /** How many bytes of the newest batches are kept in memory for scans. Default 64 MiB. */
  tailBytes?: number | undefined;
  /** Default: the backend's, else the portable one. */
  crc32?: Crc32 | undefined;
}

/**
 * Opens a pchannel's log for writing, after fencing whoever wrote it at a lower term, and replays what
 * it needs. Errors: `CHANNEL_FENCED` if a higher term owns it; `DATA_LOSS` if it is damaged, or holds
 * less than the snapshot says, or begins behind the snapshot's end.
 */
export async function openWal(options: OpenWalOptions): Promise<Wal> {
  const { backend, pchannel, term, clock, logger = silentLogger } = options;
  const signal = options.signal ? { signal: options.signal } : {};
  const began = clock?.monotonic() ?? 0;
  const log = await backend.open(pchannel, term, signal);
  try {
    const state = await replay(log, options);
    logger.info("log opened", {
      pchannel,
      term,
      backend: backend.name,
      ...log.bounds(),
      vchannels: state.vchannels.size,
      ...(clock ? { replayMs: clock.monotonic() - began } : {}),
    });
    return createWal(log, state, { ...options, logger, crc32: options.crc32 ?? backend.crc32 });
  } catch (error) {
    await log.close();
    throw error;
  }
}

async function replay(log: Log, options: OpenWalOptions): Promise<WalState> {
  const { snapshot, maxKeys = 262_144, vchannels = "created" } = options;
  const { first, next } = log.bounds();
  const state = createWalState(maxKeys, snapshot);
  if (state.next > next) {
    throw new MillraceError(
      "DATA_LOSS",
      `the log ends at batch ${next}, but its snapshot at ${state.next}`,
      { expected: String(state.next) },
    );
  }
  if (state.next < first) {
    if (snapshot || vchannels === "created") {
      throw new MillraceError(
        "DATA_LOSS",
        `the log begins at batch ${first}, but what is known of it ends at ${state.next}`,
        { expected: String(state.next) },
      );
    }
    state.next = first;
  }
  // The last batch at least, for its checksum.
  const from = Math.max(first, Math.min(state.next, next - 1));
  const signal = options.signal ? { signal: options.signal } : {};
  for await (const batch of log.read(from, signal)) {
    if (batch.sequence < state.next) state.checksum = batch.checksum;
    else state.apply(batch);
  }
  if (state.next !== next) {
    throw new MillraceError("DATA_LOSS", `the log ends at batch ${state.next}, not ${next}`, {
      expected: String(next),
    });
  }
  return state;
}

function createWal(log: Log, state: WalState, options: OpenWalOptions & { logger: Logger }): Wal {
  const { pchannel, term, logger } = options;
  const tail = createTailBuffer(options.tailBytes ?? 64 * 1024 * 1024);
  const wakers = new Set<() => void>();
  const ending = new AbortController();
  const ended = (): MillraceError | undefined => ending.signal.reason;
  const wakeScans = (): void => {
    for (const wake of [...wakers]) wake();
  };

  const sequencer = createSequencer({
    log,
    ticks: options.ticks,
    lastTick: state.lastTick,
    previousChecksum: state.checksum,
    maxBatchBytes: options.maxBatchBytes,
    maxWaitingBytes: options.maxWaitingBytes,
    crc32: options.crc32,
    onBatch(batch) {
      state.next = batch.sequence + 1;
      state.lastTick = batch.lastTick;
      state.checksum = batch.checksum;
      tail.push(batch);
      wakeScans();
    },
    onFailure(error) {
      logger.error("log failed", { pchannel, term, code: error.code, reason: error.message });
      ending.abort(error);
      wakeScans();
    },
  });
  const append = admitAppends(sequencer, state, {
    anyVchannel: options.vchannels === "any",
    maxAppendBytes: options.maxAppendBytes ?? 16 * 1024 * 1024,
  });
  const source = { log, tail, wakers, ended, next: () => state.next };

  let closed: Promise<void> | undefined;
  async function close(): Promise<void> {
    await sequencer.drain();
    ending.abort(new MillraceError("ON_SHUTDOWN", "the log is closed"));
    wakeScans();
    tail.clear();
    await log.close();
  }

  return {
    pchannel,
    term,
    append: (messages, appendOptions) => append(messages, appendOptions),
    scan: (scanOptions) => scan(source, scanOptions),
    bounds: () => ({ first: log.bounds().first, next: state.next }),
    lastTick: () => state.lastTick,
    vchannels: () => state.headers,
    snapshot: () => state.snapshot(),
    truncate: (before) => log.truncate(Math.min(before, state.next)),
    signal: ending.signal,
    close() {
      closed ??= close();
      return closed;
    },
  };
}
