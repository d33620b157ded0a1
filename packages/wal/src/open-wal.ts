/**
 * Opens a pchannel's log at its owner: replays it, then appends and reads.
 *
 * @module
 */

import { type Logger, MillraceError, silentLogger } from "@millrace/types";
import { createWal } from "./create-wal.ts";
import type { Log } from "./log.ts";
import { decodeWalSnapshot } from "./snapshot-codec.ts";
import type { Wal, WalSnapshot } from "./wal.ts";
import type { OpenWalOptions } from "./wal-options.ts";
import { createWalState, type WalState } from "./wal-state.ts";

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
    try {
      for await (const batch of log.read(state.next, signal)) {
        // What stood before was truncated, and nothing is known of it.
        if (isCut && batch.sequence === first) state.checksum = batch.previousChecksum;
        state.applyBatch(batch);
      }
    } catch (error) {
      throw MillraceError.is(error, "OUT_OF_RANGE") ? followed(error) : error;
    }
  }
  if (state.next !== next) {
    throw new MillraceError("DATA_LOSS", `the log ends at batch ${state.next}, not ${next}`, {
      expected: String(next),
    });
  }
  return state;
}

/** Only an owner truncates: if the log went away while it was read, there is another one. */
function followed(cause: MillraceError): MillraceError {
  return new MillraceError(
    "CHANNEL_FENCED",
    "another owner followed while the log was opened; find it again",
    { cause },
  );
}
