/**
 * One broadcast, from its record being saved to its end.
 *
 * @module
 */

import { type Clock, type Logger, MillraceError } from "@millrace/types";
import type { Backoff } from "./backoff.ts";
import type {
  AbortForce,
  BroadcastResult,
  Callback,
  TaskInfo,
  VchannelAppend,
} from "./contracts.ts";
import { createCopies } from "./copies.ts";
import type { Release } from "./locks.ts";
import type { RecordCell } from "./record-cell.ts";
import type { PendingTask, TaskRecord, Tombstone } from "./task-record.ts";
import { createTaskSaver } from "./task-saver.ts";

/** What the tasks of one broadcaster share. */
export interface TaskContext {
  append: VchannelAppend;
  callbacks: ReadonlyMap<number, Callback>;
  /** Throws `CHANNEL_FENCED` if this broadcaster may not act any more. */
  checkOwner: () => Promise<void>;
  /** Another broadcaster has taken over: every task must be closed at once. */
  onFenced: (error: MillraceError) => void;
  /** A task has ended; its tombstone is saved in its cell, its locks are free. */
  onEnd: (tombstone: Tombstone, cell: RecordCell) => void;
  backoff: Backoff;
  clock: Clock;
  logger: Logger;
}

/** Options of {@linkcode createTask}. */
export interface TaskOptions {
  record: PendingTask;
  cell: RecordCell;
  /** An earlier broadcaster has begun it: the record is in the store. */
  resumed: boolean;
  release: Release;
  context: TaskContext;
}

/** A broadcast that is under way. */
export interface Task {
  readonly id: bigint;
  /** How it has ended; rejects if it is aborted, or left to the next broadcaster. */
  readonly outcome: Promise<BroadcastResult>;
  /** Begins the work. */
  start(): void;
  info(): TaskInfo;
  /** A consumer has dealt with a copy. Resolves when that is saved. */
  ack(vchannel: string): Promise<void>;
  abort(force: AbortForce | undefined): Promise<void>;
  /** Ends the work and waits for it; the next broadcaster goes on. */
  close(reason: MillraceError): Promise<void>;
}

/**
 * Creates a task. A step that fails is made again after 10 ms to 10 s, until it succeeds, the task is
 * aborted or the broadcaster closes:
 *
 * 1. save the record; see that this broadcaster still owns the prefix;
 * 2. append the copies, side by side; save where they stand;
 * 3. wait for the consumers, if the task asks for that;
 * 4. run the callback;
 * 5. save the tombstone, give the locks back.
 */
export function createTask(options: TaskOptions): Task {
  const { record, cell, resumed, release, context } = options;
  const { append, backoff, clock, logger } = context;
  const { id, message, vchannels, control, acked } = record;
  const copies = createCopies({ record, resumed, append, backoff, logger });
  const onError = (error: unknown): void =>
    logger.debug("the progress of a broadcast could not be saved yet", { id, error });
  const saver = createTaskSaver({ record, cell, onError, clock });
  const closing = new AbortController();
  // Ends the steps that are under way, but not the task.
  let pause = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let step: TaskInfo["state"] = "saving";
  let begun = resumed;
  let calledBack = false;
  let over = false;
  let aborting = false;
  let failures = 0;
  let problem = "";
  let onAck = (): void => undefined;
  let settle: { resolve(result: BroadcastResult): void; reject(error: unknown): void };
  const outcome = new Promise<BroadcastResult>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // Nobody may be waiting for it any more.
  outcome.catch(() => undefined);

  const untilDone = async (work: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    const { signal } = pause;
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted();
      try {
        await work(signal);
        failures = 0;
        problem = "";
        return;
      } catch (error) {
        signal.throwIfAborted();
        failures += 1;
        problem = MillraceError.from(error).message;
        logger.warn("a step of a broadcast failed, it will be tried again", { id, step, error });
      }
      await backoff.wait(attempt, signal);
    }
  };

  /** A step that another broadcaster may have forestalled. */
  const asOwner = (work: () => Promise<void>) => async (): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (MillraceError.is(error, "CHANNEL_FENCED")) context.onFenced(error);
      throw error;
    }
  };

  const waitForAcks = async (): Promise<void> => {
    const { signal } = pause;
    const onAbort = (): void => onAck();
    signal.addEventListener("abort", onAbort, { once: true });
    while (copies.unacked().length > 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        onAck = resolve;
      });
    }
    signal.removeEventListener("abort", onAbort);
    signal.throwIfAborted();
  };

  const end = async (state: Tombstone["state"]): Promise<void> => {
    step = "ending";
    const { epoch, keys, idempotencyKey, leftOut } = record;
    const { type } = message;
    // Only who asks again with the key is told where copies stand.
    const results: PendingTask["results"] = idempotencyKey === "" ? new Map() : record.results;
    const endedAt = clock.now();
    const rest = { id, epoch, keys, idempotencyKey, results, control, leftOut, type, endedAt };
    const tombstone: Tombstone = { state, ...rest };
    await untilDone(asOwner(() => saver.end(tombstone)));
    over = true;
    release();
    context.onEnd(tombstone, cell);
    if (state === "done") settle.resolve(resultOf(record, false));
    else settle.reject(abortedError(id));
  };

  const work = async (): Promise<void> => {
    if (!begun) {
      step = "saving";
      await untilDone(asOwner(saver.save));
      await untilDone(asOwner(context.checkOwner));
      begun = true;
    }
    step = "appending";
    await copies.appendMissing(pause.signal, saver.saveSoon);
    await untilDone(asOwner(saver.save));
    step = "acking";
    await waitForAcks();
    // Others may have taken over meanwhile, and the next one must find the acknowledgements.
    if (record.ackWhen === "flushed") await untilDone(asOwner(saver.save));
    step = "callback";
    const callback = context.callbacks.get(message.type);
    if (!calledBack) {
      await untilDone(async (signal) => {
        await callback?.({ ...resultOf(record, false), message, signal });
      });
    }
    calledBack = true;
    await end("done");
  };

  const run = async (): Promise<void> => {
    try {
      await work();
    } catch (error) {
      // Work ends early only when it is paused, and who did that goes on from here.
      logger.debug("a broadcast rests", { id, step, error });
    }
  };

  const halt = async (reason: unknown): Promise<void> => {
    pause.abort(reason);
    await running;
    await saver.idle();
  };

  const decide = async (force: AbortForce | undefined): Promise<void> => {
    if (closing.signal.aborted) throw closing.signal.reason;
    if (calledBack) throw precondition(id, "has changed what it is to change, and is ending");
    const there = copies.there();
    if (force === "forget" || there.length === 0) {
      pause = new AbortController();
      const ending = end("aborted");
      // Who waits for the work only wants it to be over.
      running = ending.catch(() => undefined);
      return ending;
    }
    const open = [...new Set([...copies.missing(), ...copies.unacked()])];
    if (open.length === 0) {
      throw precondition(
        id,
        "waits for its callback alone; mend that, or force it to be forgotten",
      );
    }
    if (force === undefined) {
      throw precondition(
        id,
        `may have reached ${there.join(", ")}; get ${open.join(", ")} served again, or force it to finish without them or to be forgotten`,
      );
    }
    record.leftOut = [...record.leftOut, ...open];
  };

  return {
    id,
    outcome,
    start() {
      running = run();
    },
    info: () => ({
      id,
      message,
      keys: record.keys,
      state: step,
      ackWhen: record.ackWhen,
      copies: copies.info(),
      since: record.since,
      failures,
      problem,
    }),
    async ack(vchannel) {
      if (!vchannels.includes(vchannel) || vchannel === control) {
        throw new MillraceError("INVALID_ARGUMENT", `broadcast ${id} has no copy in ${vchannel}`, {
          field: "vchannel",
        });
      }
      if (record.ackWhen === "appended" || step === "ending") return;
      acked.add(vchannel);
      onAck();
      await asOwner(saver.save)();
    },
    async abort(force) {
      if (aborting || step === "ending") throw precondition(id, "is ending already");
      aborting = true;
      try {
        await halt(new MillraceError("CANCELLED", "the broadcast is being aborted"));
        await decide(force);
      } finally {
        aborting = false;
        if (!over && !closing.signal.aborted) {
          pause = new AbortController();
          running = run();
        }
      }
    },
    async close(reason) {
      closing.abort(reason);
      await halt(reason);
      settle.reject(reason);
    },
  };
}

/** How a task has ended, from what is saved of it. */
export function resultOf(record: TaskRecord, duplicate: boolean): BroadcastResult {
  const { id, control, leftOut } = record;
  const results = new Map(record.results);
  const controlTick = results.get(control)?.tick;
  results.delete(control);
  return { id, results, controlTick, leftOut, duplicate };
}

/** What callers of a broadcast are told that an operator has aborted. */
export function abortedError(id: bigint): MillraceError {
  return new MillraceError("CANCELLED", `broadcast ${id} was aborted by an operator`);
}

function precondition(id: bigint, problem: string): MillraceError {
  return new MillraceError("PRECONDITION_FAILED", `broadcast ${id} ${problem}`);
}
