/**
 * Sequencer: puts everything that is appended to a log into one order.
 *
 * What arrives while a write is in flight is gathered into the next batch, so that one durable write
 * serves as many appends as there are waiting: no timer at low load, large batches at high load.
 *
 * @module
 */

import { MillraceError, type Tick, type TickBlock, type TickSource } from "@millrace/types";
import type { Crc32 } from "./crc32.ts";
import { encodeBatch, encodedAppendBytes } from "./encode.ts";
import { maxBatchMessages } from "./format.ts";
import type { Log } from "./log.ts";
import type { RecordBatch, WalMessage } from "./record-batch.ts";

/** Messages on their way into the log. */
export interface SequencedAppend {
  messages: readonly WalMessage[];
  idempotencyKey: string;
  /** The ticks must exceed this; 0: no bound. */
  barrier: Tick;
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
  /** How many bytes may wait. Default 64 MiB. */
  maxWaitingBytes?: number | undefined;
  /** How many batches may be at the log at once. Default 2. */
  maxInFlight?: number | undefined;
  crc32?: Crc32 | undefined;
  /** Called with each durable batch, in order, before its appends are told. */
  onBatch(batch: RecordBatch): void;
  /** Called once, when the log has failed; no append succeeds afterwards. */
  onFailure(error: MillraceError): void;
}

/** Puts appends into one order. */
export interface Sequencer {
  /** Throws the reason if the log has failed, `ON_SHUTDOWN` if it is closing. */
  check(): void;
  /**
   * Takes an append. Throws `RESOURCE_EXHAUSTED` if too many bytes wait already, and as `check` does.
   */
  add(append: SequencedAppend): void;
  /** Refuses further appends and resolves when those taken are settled. */
  drain(): Promise<void>;
}

interface Waiting extends SequencedAppend {
  bytes: number;
}

interface InFlight {
  batch: RecordBatch;
  appends: Waiting[];
  done: boolean;
}

/** A batch is formed beside one that is being written only when this many bytes have gathered. */
const overlapBytes = 128 * 1024;
/** How long a caller that was refused should wait: about as long as some full batches take. */
const retryAfterMs = 50;

/** Creates the sequencer of a log. */
export function createSequencer(options: SequencerOptions): Sequencer {
  const { log, ticks, crc32, onBatch, onFailure } = options;
  const maxBatchBytes = options.maxBatchBytes ?? 4 * 1024 * 1024;
  const maxWaitingBytes = options.maxWaitingBytes ?? 64 * 1024 * 1024;
  const maxInFlight = options.maxInFlight ?? 2;

  let queue: Waiting[] = [];
  let queueBytes = 0;
  let waitingBytes = 0;
  const inFlight: InFlight[] = [];
  let forming = false;
  let scheduled = false;
  let closing = false;
  let failure: MillraceError | undefined;
  let drained: (() => void)[] = [];

  let nextSequence = log.bounds().next;
  let { lastTick, previousChecksum } = options;

  function check(): void {
    if (failure) throw failure;
    if (closing) throw new MillraceError("ON_SHUTDOWN", "the log is closing; find its next owner");
  }

  function add(append: SequencedAppend): void {
    check();
    const bytes = encodedAppendBytes(append);
    if (waitingBytes > 0 && waitingBytes + bytes > maxWaitingBytes) {
      throw new MillraceError(
        "RESOURCE_EXHAUSTED",
        `${waitingBytes} bytes wait to be written; retry in ${retryAfterMs} ms`,
        { retryAfterMs },
      );
    }
    queue.push({ ...append, bytes });
    queueBytes += bytes;
    waitingBytes += bytes;
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
    while (!forming && !failure && queue.length > 0 && hasRoom()) {
      const appends = takeFromQueue();
      let count = 0;
      let after = lastTick;
      for (const { messages, barrier } of appends) {
        count += messages.length;
        if (barrier > after) after = barrier;
      }
      let block: TickBlock | Promise<TickBlock>;
      try {
        block = ticks.take(count, after);
      } catch (error) {
        refuse(appends, error);
        continue;
      }
      if (!(block instanceof Promise)) {
        write(appends, count, after, block);
        continue;
      }
      forming = true;
      block
        .then(
          (taken) => write(appends, count, after, taken),
          (error) => refuse(appends, error),
        )
        .finally(() => {
          forming = false;
          form();
        });
    }
    settleDrain();
  }

  function hasRoom(): boolean {
    if (inFlight.length === 0) return true;
    return inFlight.length < maxInFlight && queueBytes >= overlapBytes;
  }

  function takeFromQueue(): Waiting[] {
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
        bytes + append.bytes <= limit && messages + append.messages.length <= maxBatchMessages;
      if (end > 0 && !fits) break;
      bytes += append.bytes;
      messages += append.messages.length;
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

  function write(appends: Waiting[], count: number, after: Tick, block: TickBlock): void {
    if (failure) {
      refuse(appends, failure);
      return;
    }
    let batch: RecordBatch;
    try {
      if (block.first <= after || block.count < count) {
        throw new MillraceError("INNER", "the tick source answered ticks out of order");
      }
      const { term } = log;
      const firstTick = block.first;
      const input = { term, sequence: nextSequence, firstTick, previousChecksum, appends };
      batch = encodeBatch(input, { crc32 });
    } catch (error) {
      refuse(appends, error);
      return;
    }
    nextSequence++;
    lastTick = batch.lastTick;
    previousChecksum = batch.checksum;
    const entry: InFlight = { batch, appends, done: false };
    inFlight.push(entry);
    log.append(batch).then(
      () => {
        entry.done = true;
        settleWritten();
      },
      (error) => fail(MillraceError.from(error)),
    );
  }

  function settleWritten(): void {
    while (!failure && inFlight[0]?.done) {
      const { batch, appends } = inFlight.shift() as InFlight;
      onBatch(batch);
      let index = 0;
      for (const append of appends) {
        waitingBytes -= append.bytes;
        append.committed(batch, index);
        index += append.messages.length;
      }
    }
    // What those callers append next, in reaction, comes along.
    schedule();
  }

  /** Nothing was written for these: they may be sent again. */
  function refuse(appends: readonly Waiting[], error: unknown): void {
    const reason = MillraceError.from(error);
    for (const append of appends) {
      waitingBytes -= append.bytes;
      append.failed(reason);
    }
  }

  function fail(error: MillraceError): void {
    if (failure) return;
    failure = error;
    const unknown = new MillraceError(error.code, error.message, {
      retryable: error.retryable,
      maybeApplied: true,
      ...(error.expected === undefined ? {} : { expected: error.expected }),
      cause: error,
    });
    onFailure(error);
    for (const { appends } of inFlight.splice(0)) refuse(appends, unknown);
    refuse(queue.splice(0), error);
    queueBytes = 0;
    settleDrain();
  }

  function settleDrain(): void {
    if (forming || queue.length > 0 || inFlight.length > 0) return;
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

  return { check, add, drain };
}
