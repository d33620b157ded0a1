/**
 * Sequencer: puts everything that is appended to a log into one order.
 *
 * What arrives while a write is in flight is gathered into the next batch, so that one durable write
 * serves as many appends as there are waiting: no timer at low load, large batches at high load.
 *
 * @module
 */

import {
  type Clock,
  MillraceError,
  type Tick,
  type TickBlock,
  type TickSource,
} from "@millrace/types";
import { type BatchAppend, type CodecOptions, encodeBatch } from "./encode.ts";
import { maxBatchMessages } from "./format.ts";
import type { Log } from "./log.ts";
import type { RecordBatch, WalMessage } from "./record-batch.ts";
import type { Timings } from "./timings.ts";

/** Messages on their way into the log. */
export interface SequencedAppend {
  readonly messages: readonly WalMessage[];
  readonly idempotencyKey: string;
  /** The transaction they belong to; 0: none. */
  readonly txn: Tick;
  /** The ticks must exceed this; 0: no bound. */
  readonly barrier: Tick;
  /** As encoded. */
  readonly bytes: number;
  /** The most messages it has, with those of `before`. */
  readonly mostMessages: number;
  /** Asked when its batch is formed: appends of one message each that must stand right before it. */
  before?(): readonly BatchAppend[];
  /** Called once it is durable, in the order of the log. `index` is that of its first message. */
  committed(batch: RecordBatch, index: number): void;
  /** Called instead if it could not be made durable. */
  failed(error: MillraceError): void;
}

/** Options of {@linkcode createSequencer}. */
export interface SequencerOptions {
  log: Log;
  ticks: TickSource;
  /** The last tick in the log; those given exceed it. */
  lastTick: Tick;
  /** The checksum of the last batch in the log; 0 if it has none. */
  previousChecksum: number;
  /** Appends are gathered up to this many bytes; a single append may be larger. Default 4 MiB. */
  maxBatchBytes?: number | undefined;
  /** How many batches may be at the log at once. Default 2. */
  maxInFlight?: number | undefined;
  /** How batches are encoded. */
  codec?: CodecOptions | undefined;
  /** Times the stages. Default: they are not timed. */
  clock?: Clock | undefined;
  timings: Timings;
  /** Called with each durable batch, in order, before its appends are told. */
  onBatch(batch: RecordBatch): void;
  /** Called after the appends of durable batches were told; `bytes` of those batches. */
  onSettled(bytes: number): void;
  /** Called once, when the log has failed; no append succeeds afterwards. */
  onFailure(error: MillraceError): void;
}

/** Puts appends into one order. */
export interface Sequencer {
  /** Throws the reason if the log has failed, `ON_SHUTDOWN` if it is closing. */
  check(): void;
  /** Takes an append; it will be settled. Throws as `check` does. */
  add(append: SequencedAppend): void;
  /** All messages with ticks up to this one are durable; later ones get higher ticks. */
  confirmedTick(): Tick;
  /** Takes a tick above `after` and resolves with it, or a higher one, when it is confirmed. */
  sync(after: Tick): Promise<Tick>;
  /** Refuses further appends and resolves when those taken are settled. */
  drain(): Promise<void>;
}

interface InFlight {
  batch: RecordBatch;
  appends: readonly SequencedAppend[];
  /** How many messages stand before each append that asked for some. */
  before: ReadonlyMap<SequencedAppend, number> | undefined;
  syncs: readonly Sync[];
  done: boolean;
  queuedMs: number;
  ticksMs: number;
  encodedMs: number;
  writtenAt: number;
}

/** A batch that has its appends, and waits for ticks. */
interface Forming {
  appends: readonly SequencedAppend[];
  before: Map<SequencedAppend, readonly BatchAppend[]> | undefined;
  /** Of messages. */
  count: number;
  after: Tick;
  syncs: readonly Sync[];
  queuedMs: number;
  formedAt: number;
}

interface Sync {
  after: Tick;
  resolve: (tick: Tick) => void;
  reject: (error: MillraceError) => void;
}

/** A batch is formed beside one that is being written only when this many bytes have gathered. */
const overlapBytes = 128 * 1024;

/** Creates the sequencer of a log. */
export function createSequencer(options: SequencerOptions): Sequencer {
  const { log, ticks, codec, clock, timings, onBatch, onSettled, onFailure } = options;
  const maxBatchBytes = options.maxBatchBytes ?? 4 * 1024 * 1024;
  const maxInFlight = options.maxInFlight ?? 2;

  let queue: SequencedAppend[] = [];
  let queueBytes = 0;
  let queuedAt = 0;
  let syncs: Sync[] = [];
  let inFlight: InFlight[] = [];
  let forming = false;
  let scheduled = false;
  let closing = false;
  let failure: MillraceError | undefined;
  let drained: (() => void)[] = [];

  let nextSequence = log.bounds().next;
  let { lastTick, previousChecksum } = options;
  let confirmed = lastTick;
  /** The checksum of the last batch that is durable. */
  let durableChecksum = previousChecksum;

  const now = (): number => clock?.monotonic() ?? 0;

  function check(): void {
    if (failure) throw failure;
    if (closing) throw new MillraceError("ON_SHUTDOWN", "the log is closing; find its next owner");
  }

  function add(append: SequencedAppend): void {
    check();
    if (queue.length === 0) queuedAt = now();
    queue.push(append);
    queueBytes += append.bytes;
    schedule();
  }

  // One microtask later, so that appends made together are written together.
  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      form();
    });
  }

  function form(): void {
    while (!forming && !failure && hasWork()) {
      const batch = takeBatch();
      let block: TickBlock | Promise<TickBlock>;
      try {
        block = ticks.take(Math.max(1, batch.count), batch.after);
      } catch (error) {
        onNoTicks(batch, error);
        continue;
      }
      if (!(block instanceof Promise)) {
        proceed(batch, block);
        continue;
      }
      forming = true;
      block
        .then(
          (taken) => proceed(batch, taken),
          (error) => onNoTicks(batch, error),
        )
        .finally(() => {
          forming = false;
          form();
        });
    }
    settleDrain();
  }

  function hasWork(): boolean {
    if (queue.length === 0) return syncs.length > 0 && inFlight.length === 0;
    if (inFlight.length === 0) return true;
    return inFlight.length < maxInFlight && queueBytes >= overlapBytes;
  }

  function takeBatch(): Forming {
    const formedAt = now();
    const appends = takeFromQueue();
    let before: Forming["before"];
    let count = 0;
    let after = lastTick;
    for (const append of appends) {
      count += append.messages.length;
      if (append.barrier > after) after = append.barrier;
      const extra = append.before?.();
      if (!extra || extra.length === 0) continue;
      before ??= new Map();
      before.set(append, extra);
      count += extra.length;
    }
    const taken = syncs;
    syncs = [];
    for (const sync of taken) if (sync.after > after) after = sync.after;
    const queuedMs = appends.length > 0 ? formedAt - queuedAt : 0;
    queuedAt = formedAt;
    return { appends, before, count, after, syncs: taken, queuedMs, formedAt };
  }

  function takeFromQueue(): readonly SequencedAppend[] {
    // Of much that waits only half, so that the other half is encoded while the first is written.
    const limit =
      maxInFlight > 1 && inFlight.length === 0 && queueBytes >= 2 * overlapBytes
        ? Math.min(maxBatchBytes, queueBytes / 2)
        : maxBatchBytes;
    let bytes = 0;
    let messages = 0;
    let end = 0;
    for (const append of queue) {
      const fits =
        bytes + append.bytes <= limit && messages + append.mostMessages <= maxBatchMessages;
      if (end > 0 && !fits) break;
      bytes += append.bytes;
      messages += append.mostMessages;
      end++;
    }
    queueBytes -= bytes;
    if (end === queue.length) {
      const all = queue;
      queue = [];
      return all;
    }
    return queue.splice(0, end);
  }

  /** A barrier that cannot be met must not take along those who came with it. */
  function onNoTicks({ appends, syncs: waiting }: Forming, error: unknown): void {
    const isBarrier = MillraceError.is(error, "INVALID_ARGUMENT");
    const meant = (barrier: Tick): boolean => !isBarrier || barrier > lastTick;
    const others = appends.filter(({ barrier }) => !meant(barrier));
    if (others.length > 0 && !failure) {
      queue = [...others, ...queue];
      for (const { bytes } of others) queueBytes += bytes;
    }
    syncs.push(...waiting.filter(({ after }) => !meant(after)));
    refuse(
      appends.filter(({ barrier }) => meant(barrier)),
      waiting.filter(({ after }) => meant(after)),
      error,
    );
  }

  function proceed(forming: Forming, block: TickBlock): void {
    const { appends, count, after } = forming;
    if (failure) {
      refuse(appends, forming.syncs, failure);
      return;
    }
    if (block.first <= after || block.count < Math.max(1, count)) {
      const reason = "the tick source answered ticks out of order";
      refuse(appends, forming.syncs, new MillraceError("INNER", reason));
      return;
    }
    if (count === 0) confirmIdle(forming, block.first);
    else write(forming, block.first);
  }

  /** Nothing is on its way, so everything up to the tick is there. */
  function confirmIdle({ syncs }: Forming, tick: Tick): void {
    lastTick = tick;
    confirmed = tick;
    for (const { resolve } of syncs) resolve(tick);
  }

  function write(forming: Forming, firstTick: Tick): void {
    const { appends, before, syncs, queuedMs, formedAt } = forming;
    const tickedAt = now();
    let batch: RecordBatch;
    try {
      const { term } = log;
      const encoded = before ? withBefore(appends, before) : appends;
      const input = { term, sequence: nextSequence, firstTick, previousChecksum, appends: encoded };
      batch = encodeBatch(input, codec);
    } catch (error) {
      refuse(appends, syncs, error);
      return;
    }
    nextSequence++;
    lastTick = batch.lastTick;
    previousChecksum = batch.checksum;
    const writtenAt = now();
    const entry: InFlight = {
      batch,
      appends,
      before: before && countsOf(before),
      syncs,
      done: false,
      queuedMs,
      ticksMs: tickedAt - formedAt,
      encodedMs: writtenAt - tickedAt,
      writtenAt,
    };
    inFlight.push(entry);
    log.append(batch).then(
      () => {
        entry.done = true;
        settleWritten();
      },
      (error) => onRejected(entry, MillraceError.from(error)),
    );
  }

  function settleWritten(): void {
    let bytes = 0;
    while (!failure && inFlight[0]?.done) {
      const entry = inFlight.shift() as InFlight;
      const { batch, appends, before } = entry;
      confirmed = batch.lastTick;
      durableChecksum = batch.checksum;
      bytes += batch.bytes.length;
      if (clock) {
        timings.add({
          queued: entry.queuedMs,
          ticks: entry.ticksMs,
          encoded: entry.encodedMs,
          written: now() - entry.writtenAt,
        });
      }
      onBatch(batch);
      let index = 0;
      for (const append of appends) {
        index += before?.get(append) ?? 0;
        append.committed(batch, index);
        index += append.messages.length;
      }
      for (const { resolve } of entry.syncs) resolve(confirmed);
    }
    onSettled(bytes);
    // What those callers append next, in reaction, comes along.
    schedule();
  }

  function onRejected(entry: InFlight, error: MillraceError): void {
    if (failure || !inFlight.includes(entry)) return;
    if (error.code === "RESOURCE_EXHAUSTED") refuseAll(error);
    else fail(error);
  }

  /** The log has no room for now, and goes on at the same place when it has. */
  function refuseAll(error: MillraceError): void {
    const unknown = withUnknownOutcome(error);
    const written = inFlight;
    inFlight = [];
    nextSequence = log.bounds().next;
    previousChecksum = durableChecksum;
    for (const { appends, syncs } of written) refuse(appends, syncs, unknown);
    refuse(queue.splice(0), syncs.splice(0), error);
    queueBytes = 0;
    settleDrain();
  }

  function refuse(
    appends: readonly SequencedAppend[],
    syncs: readonly Sync[],
    error: unknown,
  ): void {
    const reason = MillraceError.from(error);
    for (const append of appends) append.failed(reason);
    for (const { reject } of syncs) reject(reason);
  }

  function fail(error: MillraceError): void {
    failure = error;
    onFailure(error);
    const unknown = withUnknownOutcome(error);
    for (const { appends, syncs } of inFlight.splice(0)) refuse(appends, syncs, unknown);
    refuse(queue.splice(0), syncs.splice(0), error);
    queueBytes = 0;
    settleDrain();
  }

  function sync(after: Tick): Promise<Tick> {
    return new Promise((resolve, reject) => {
      check();
      syncs.push({ after, resolve, reject });
      schedule();
    });
  }

  function settleDrain(): void {
    if (drained.length === 0 || forming || inFlight.length > 0) return;
    if (queue.length > 0 || syncs.length > 0) return;
    for (const resolve of drained) resolve();
    drained = [];
  }

  function drain(): Promise<void> {
    closing = true;
    return new Promise((resolve) => {
      drained.push(resolve);
      settleDrain();
    });
  }

  return { check, add, confirmedTick: () => confirmed, sync, drain };
}

function withBefore(
  appends: readonly SequencedAppend[],
  before: ReadonlyMap<SequencedAppend, readonly BatchAppend[]>,
): BatchAppend[] {
  return appends.flatMap((append) => [...(before.get(append) ?? []), append]);
}

function countsOf(
  before: ReadonlyMap<SequencedAppend, readonly BatchAppend[]>,
): Map<SequencedAppend, number> {
  return new Map([...before].map(([append, appends]) => [append, appends.length]));
}

/** Whether the batch is in the log, who opens it next decides. */
function withUnknownOutcome(error: MillraceError): MillraceError {
  const { code, message, retryable, expected, retryAfterMs } = error;
  return new MillraceError(code, message, {
    retryable,
    maybeApplied: true,
    retryAfterMs,
    ...(expected === undefined ? {} : { expected }),
    cause: error,
  });
}
