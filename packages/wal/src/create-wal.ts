/**
 * A log that was opened and replayed, as its owner uses it.
 *
 * @module
 */

import { type Logger, MillraceError, type Tick } from "@millrace/types";
import { createLocks } from "./append/locks.ts";
import { timeTick } from "./append/message-types.ts";
import { createPipeline } from "./append/pipeline.ts";
import { createRoom } from "./append/room.ts";
import { createThrottle } from "./append/throttle.ts";
import { createTxnCalls } from "./append/txn-calls.ts";
import { createBatchMemory } from "./batch-memory.ts";
import type { Log } from "./log.ts";
import { read } from "./read/reader.ts";
import { scan } from "./read/scanner.ts";
import { createTailBuffer } from "./read/tail-buffer.ts";
import type { RecordBatch } from "./record-batch.ts";
import { createSequencer } from "./sequencer.ts";
import { createSnapshotKeeper } from "./snapshot-keeper.ts";
import { createTicker } from "./ticker.ts";
import { createTimings } from "./timings.ts";
import type { Wal, WalSnapshot } from "./wal.ts";
import type { OpenWalOptions } from "./wal-options.ts";
import type { WalState } from "./wal-state.ts";

const mib = 1024 * 1024;
const noBytes: Uint8Array = new Uint8Array(0);

/** Creates the Wal of a log whose state is known. */
export function createWal(
  log: Log,
  state: WalState,
  options: OpenWalOptions & { logger: Logger },
): Wal {
  const { pchannel, term, clock, logger } = options;
  const memory = log.releasesBatches ? createBatchMemory(16 * mib) : undefined;
  const tail = createTailBuffer({
    maxBytes: options.tailBytes ?? 64 * mib,
    maxAgeMs: options.tailMs ?? 30_000,
    // What no reader has seen nobody needs any more.
    onUnread: (batch) => memory?.release(batch.bytes),
  });
  const room = createRoom(options.maxWaitingBytes ?? 64 * mib);
  const locks = createLocks();
  const timings = createTimings(logger, { pchannel, term }, options.slowBatchMs);
  const wakers = new Set<() => void>();
  const ending = new AbortController();
  const ended = (): MillraceError | undefined => ending.signal.reason;
  const counters = { batches: 0, bytes: 0 };

  const wakeReaders = (): void => {
    for (const wake of [...wakers]) wake();
  };
  const end = (reason: MillraceError): void => {
    ending.abort(reason);
    room.close(reason);
    wakeReaders();
  };
  const warn = (message: string, error: unknown): void => {
    if (ending.signal.aborted) return;
    const { code, message: reason } = MillraceError.from(error);
    logger.warn(message, { pchannel, term, code, reason });
  };

  const takeSnapshot = (): WalSnapshot => ({ ...state.snapshot(), mark: log.mark?.() });
  const keeper = options.keepSnapshots
    ? createSnapshotKeeper({ log, take: takeSnapshot, logger, clock })
    : undefined;

  const onBatch = (batch: RecordBatch): void => {
    state.advance(batch);
    counters.batches++;
    counters.bytes += batch.bytes.length;
    tail.push(batch, clock?.monotonic());
    ticker?.wrote(batch);
  };
  const sequencer = createSequencer({
    log,
    ticks: options.ticks,
    lastTick: state.lastTick,
    previousChecksum: state.checksum,
    maxBatchBytes: options.maxBatchBytes,
    codec: { crc32: options.crc32, allocate: memory?.allocate },
    clock,
    timings,
    onBatch,
    onSettled(bytes) {
      wakeReaders();
      keeper?.wrote(bytes);
      if (state.txns.open.size > 0) expireTxns(state.lastTick);
    },
    onFailure(error) {
      logger.error("log failed", { pchannel, term, code: error.code, reason: error.message });
      end(error);
    },
  });
  const pipeline = createPipeline({
    sequencer,
    state,
    room,
    locks,
    throttle: clock && options.throttle && createThrottle({ ...options.throttle, clock }),
    anyVchannel: options.vchannels === "any",
    maxAppendBytes: options.maxAppendBytes ?? 16 * mib,
    maxOpenTxnBytes: options.maxOpenTxnBytes ?? 64 * mib,
    segments: options.segments,
  });
  const txnCalls = createTxnCalls({
    pipeline,
    state,
    locks,
    leaseMs: options.txnLeaseMs,
    maxOpenTxns: options.maxOpenTxns ?? 1024,
  });
  const expireTxns = (tick: Tick): void => {
    txnCalls.expire(tick).catch((error) => warn("a transaction cannot be rolled back", error));
  };
  const ticker = clock
    ? createTicker({
        clock,
        everyMs: options.tickMs,
        sync: () => sequencer.sync(0n),
        async write() {
          const message = { type: timeTick, vchannel: "", header: noBytes, payload: noBytes };
          await pipeline.appendOwn(message);
        },
        onTick() {
          expireTxns(sequencer.confirmedTick());
          tail.expire(clock.monotonic());
        },
        onError: (error) => warn("no time tick", error),
      })
    : undefined;

  const source = {
    log,
    tail,
    wakers,
    ended,
    next: () => state.next,
    oldestOpen: () => state.txns.oldest(state.next),
  };

  let closed: Promise<void> | undefined;
  async function close(): Promise<void> {
    room.close(new MillraceError("ON_SHUTDOWN", "the log is closing; find its next owner"));
    const drained = sequencer.drain();
    await ticker?.stop();
    await drained;
    const healthy = !ending.signal.aborted;
    end(new MillraceError("ON_SHUTDOWN", "the log is closed"));
    tail.clear();
    if (healthy) await keeper?.close();
    await log.close();
  }

  return {
    pchannel,
    term,
    append: (messages, appendOptions = {}) => pipeline.append(messages, appendOptions),
    begin: (beginOptions) => txnCalls.begin(beginOptions),
    commit: (txn) => txnCalls.commit(txn),
    rollback: (txn) => txnCalls.rollback(txn),
    scan: (scanOptions) => scan(source, scanOptions),
    read: (readOptions) => read(source, readOptions),
    bounds: () => ({ first: log.bounds().first, next: state.next }),
    lastTick: () => state.lastTick,
    confirmedTick: () => sequencer.confirmedTick(),
    lastConfirmed: source.oldestOpen,
    sync: (after = 0n) => sequencer.sync(after),
    vchannels: () => state.shards.headers,
    status: () => ({
      ...pipeline.counters(),
      ...counters,
      waitingBytes: room.taken(),
      openTxns: state.txns.open.size,
      stages: timings.stages(),
    }),
    snapshot: takeSnapshot,
    async truncate(before) {
      const limit = Math.min(before, state.txns.oldest(state.next));
      await keeper?.cover(limit);
      await log.truncate(limit);
    },
    signal: ending.signal,
    close() {
      closed ??= close();
      return closed;
    },
  };
}
