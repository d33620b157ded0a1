/**
 * Flusher: reads a pchannel's log and brings its rows into tables, each once.
 *
 * @module
 */

import type { ObjectStore } from "@millrace/storage";
import {
  backoffDelay,
  type Clock,
  delay,
  type Live,
  type Logger,
  MillraceError,
  type Random,
  readLive,
  type Tick,
} from "@millrace/types";
import type { RecordBatch, Wal } from "@millrace/wal";
import { createFlushBudget, type FlushBudget } from "./budget.ts";
import { createConsumer } from "./consumer.ts";
import { cleanUp, type JobContext, runJob } from "./flush-job.ts";
import { createParquetEncoder, type Encoder } from "./parquet.ts";
import { defaultSealLimits, type SealLimits } from "./seal.ts";
import type { FlusherSnapshot } from "./snapshot.ts";
import { checkpointOf, type FlushJob } from "./vchannel.ts";
import { createVchannelRegistry } from "./vchannel-registry.ts";

/** Options of {@linkcode createFlusher}. */
export interface FlusherOptions {
  pchannel: string;
  /** Of the owner. */
  term: number;
  wal: Wal;
  /** Where tables lie. It may be away for any time. */
  store: ObjectStore;
  /** What an earlier owner's flusher knew. Default: the log is read from its beginning. */
  from?: FlusherSnapshot | undefined;
  /** When growing rows are sealed; asked for at each look if it is a function. */
  limits?: Live<Partial<SealLimits>> | undefined;
  /** The most bytes of rows in memory; beyond, the log is not read on. Default 128 MiB. */
  bufferBytes?: number | undefined;
  /** Shared with the other flushers of the process. Default: one of its own. */
  budget?: FlushBudget | undefined;
  /** Makes the files. Default: Parquet, on this thread, in small steps. */
  encoder?: Encoder | undefined;
  clock: Clock;
  random: Random;
  logger: Logger;
  /** Told of each batch that was read. */
  onBatch?: ((batch: RecordBatch) => void) | undefined;
  /** Told when rows have become part of a table. */
  onCheckpoint?: (() => void) | undefined;
}

/** How a flusher is doing. */
export interface FlusherStatus {
  /** All rows up to here are in tables. */
  flushedTick: Tick;
  /** All of the log up to here has been read. */
  readTick: Tick;
  /** Rows that were read from the log and are not in a table, and their bytes in memory. */
  rows: number;
  bytes: number;
  /** Keys of deletions that were read. Tables do not apply them yet. */
  deletes: number;
  /** Why it does not proceed; empty if it does. */
  problem: string;
}

/** Brings a pchannel's rows into tables. */
export interface Flusher {
  /** Begins. Does not wait for the store. */
  start(): void;
  /** Ends at once; what is under way is repeated by the next owner. Does not write what grows. */
  close(): Promise<void>;
  /** Up to which tick all rows of a vchannel are in its table; `undefined` if it is not known. */
  checkpoint(vchannel: string): Tick | undefined;
  /**
   * All rows of batches before this sequence are in tables, also those of transactions that were open
   * then: nobody who brings rows into tables needs what is before it.
   */
  flushedSequence(): number;
  status(): FlusherStatus;
  /** What the next owner's flusher needs in order to go on from {@linkcode flushedSequence}. */
  snapshot(): FlusherSnapshot;
}

/**
 * Creates a flusher of a pchannel.
 *
 * It reads the log from where an earlier owner's tables end, gathers rows by vchannel and partition,
 * and writes all of a vchannel's rows up to a place of the log as Parquet files with one commit. The
 * commit names the range, so that rows are never written twice, whatever crashes or comes late. Rows of
 * a transaction count where it is committed; until then they are held, and those of one that is rolled
 * back are forgotten.
 *
 * @example
 * ```ts
 * const flusher = createFlusher({ pchannel, term, wal, store, clock, random, logger });
 * flusher.start();
 * flusher.checkpoint("millrace-dml_0_7v0"); // a tick
 * await flusher.close();
 * ```
 */
export function createFlusher(options: FlusherOptions): Flusher {
  const { pchannel, term, wal, store, from, clock, random, logger } = options;
  const ending = new AbortController();
  const { signal } = ending;
  let readProblem = "";
  let running: Promise<void> | undefined;
  let wake: () => void = () => undefined;

  const given = readLive(options.limits ?? {});
  const limits = (): SealLimits => ({ ...defaultSealLimits, ...given() });
  const registry = createVchannelRegistry({ store, from, limits, clock, random });
  // Also where the creating messages are truncated: what exists is told by the log itself.
  for (const [name, header] of wal.vchannels()) registry.createFrom(name, header);
  const consumer = createConsumer({
    registry,
    sequence: from?.sequence ?? wal.bounds().first,
    lastTick: from?.lastTick ?? 0n,
    limits,
    budget: options.budget ?? createFlushBudget(),
    bufferBytes: options.bufferBytes ?? 128 * 1024 * 1024,
    clock,
    onSealed: () => wake(),
  });
  const context: JobContext = {
    store,
    term,
    encoder: options.encoder ?? createParquetEncoder({ clock }),
    share: consumer.share,
    logger,
    signal,
  };

  const read = async (): Promise<void> => {
    for (let failures = 0; ; failures++) {
      try {
        const sequence = consumer.nextSequence();
        for await (const batch of wal.scan({ from: { sequence }, signal })) {
          await consumer.take(batch, signal);
          options.onBatch?.(batch);
          failures = 0;
          readProblem = "";
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        const { code, message } = MillraceError.from(error);
        readProblem = message;
        logger.error("the log cannot be read", { pchannel, term, code, reason: message });
        if (wal.signal.aborted) return;
      }
      await delay(clock, backoffDelay(failures, random, { initialMs: 100 }), signal);
    }
  };

  const attempt = async (job: FlushJob): Promise<void> => {
    const { vchannel, range } = job;
    const began = clock.monotonic();
    job.running = true;
    try {
      await runJob(job, context);
      consumer.finish(job);
      const { rows, lastSequence } = range;
      const ms = Math.round(clock.monotonic() - began);
      logger.info("rows flushed", { vchannel: vchannel.name, rows, lastSequence, ms });
      options.onCheckpoint?.();
      await cleanUp(job, context);
    } catch (error) {
      if (signal.aborted) return;
      if (vchannel.dropped) return consumer.finish(job);
      job.running = false;
      const { code, message } = MillraceError.from(error);
      job.problem = message;
      job.retryAt = clock.monotonic() + backoffDelay(job.failures++, random, { initialMs: 100 });
      logger.warn("rows could not be flushed", { vchannel: vchannel.name, code, reason: message });
      // The one error that no later attempt can mend: another owner writes the table.
      if (code === "CHANNEL_FENCED") {
        readProblem = message;
        ending.abort(error);
      }
    }
  };

  const flush = async (): Promise<void> => {
    while (!signal.aborted) {
      const now = clock.monotonic();
      const jobs = registry.jobs();
      const due = jobs.find((job) => job.retryAt <= now);
      if (due) {
        await attempt(due);
        continue;
      }
      const next = jobs.reduce((soonest, { retryAt }) => Math.min(soonest, retryAt), Infinity);
      await new Promise<void>((resolve) => {
        const cancel = next < Infinity ? clock.schedule(next - now, resolve) : undefined;
        wake = () => {
          cancel?.();
          resolve();
        };
      });
      wake = () => undefined;
    }
  };

  const flushedSequence = (): number => registry.unflushedFrom(consumer.openFrom());

  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort, { once: true });

  const run = async (): Promise<void> => {
    const guarded = async (work: Promise<void>): Promise<void> => {
      try {
        await work;
      } catch (error) {
        if (signal.aborted) return;
        readProblem = MillraceError.from(error).message;
        logger.error("the flusher has failed", { pchannel, term, reason: readProblem });
        ending.abort(error);
      }
    };
    await Promise.all([guarded(read()), guarded(flush())]);
  };

  return {
    start() {
      running ??= run();
    },
    async close() {
      ending.abort(new MillraceError("ON_SHUTDOWN", "the flusher is closed"));
      await running;
      consumer.close();
    },
    checkpoint(name) {
      const vchannel = registry.vchannels.get(name);
      return vchannel && checkpointOf(vchannel, consumer.lastTick());
    },
    flushedSequence,
    status: () => ({
      ...registry.status(consumer.lastTick(), readProblem),
      readTick: consumer.lastTick(),
      bytes: consumer.share.held,
      deletes: consumer.deletes(),
    }),
    snapshot: () => ({
      sequence: flushedSequence(),
      lastTick: registry.status(consumer.lastTick(), "").flushedTick,
      ...registry.snapshot(),
    }),
  };
}
