/**
 * The broadcaster: requests, the tasks that come of them, and what is kept of those.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import { type Clock, type Logger, MillraceError, type Random, silentLogger } from "@millrace/types";
import { createBackoff } from "./backoff.ts";
import { checkPlan, checkRequest } from "./check.ts";
import type {
  AbortOptions,
  BroadcastRequest,
  BroadcastResult,
  Callback,
  TaskInfo,
  VchannelAppend,
} from "./contracts.ts";
import { createLocks, type Release } from "./locks.ts";
import type { Ownership } from "./ownership.ts";
import { createRecordCell, type RecordCell } from "./record-cell.ts";
import { lockOrder, type ResourceKey } from "./resource-keys.ts";
import { abortedError, createTask, resultOf, type Task, type TaskContext } from "./task.ts";
import { type PendingTask, recordKey, scopeName, scopeOf } from "./task-record.ts";
import { takeOver } from "./take-over.ts";
import { createTombstones } from "./tombstones.ts";

/** Options of {@linkcode createBroadcaster}. */
export interface BroadcasterOptions {
  /** Where tasks are kept. Left open. */
  meta: MetaStore;
  /** Key prefix of the tasks, which nobody else uses. Default `broadcast/`. */
  prefix?: string;
  append: VchannelAppend;
  /** What follows from a broadcast, by message type. Types without a callback are refused. */
  callbacks: ReadonlyMap<number, Callback>;
  /** Ids that grow and are used once for ever, over restarts too. */
  nextId: () => Promise<bigint>;
  /**
   * A vchannel that gets a copy of every broadcast, so that one log shows them all in one order.
   * Default: none.
   */
  controlChannel?: string;
  /** Called once, if another broadcaster takes the prefix over; this one has stopped. Must not throw. */
  onFenced?: (error: MillraceError) => void;
  clock: Clock;
  random: Random;
  /** Default: silent. */
  logger?: Logger;
  /** How many broadcasts may be under way or wait for locks. Default 1000. */
  maxTasks?: number;
  /** How many ended ones are remembered. Default 8192. */
  maxTombstones?: number;
  /** How long an ended one is remembered, in milliseconds. Default 86400000 (a day). */
  tombstoneMs?: number;
  /** How often ended ones are looked through, in milliseconds. Default 300000. */
  sweepMs?: number;
}

/** Brings messages into many vchannels, or into none. */
export interface Broadcaster {
  /**
   * Takes the prefix over, loads the tasks of earlier broadcasters and locks what they lock. Answers
   * with them.
   */
  load(): Promise<TaskInfo[]>;
  /** Goes on with what was loaded, and takes requests. */
  start(): void;
  /**
   * Resolves when all copies are appended (and acknowledged, if asked for) and the callback has
   * succeeded; `undefined` if the plan was to do nothing. Errors: those of the plan;
   * `INVALID_ARGUMENT`; `RESOURCE_EXHAUSTED`; `CANCELLED` if an operator aborts it; `UNAVAILABLE`,
   * retryable and `maybeApplied`, if this broadcaster ends first.
   */
  broadcast(request: BroadcastRequest): Promise<BroadcastResult | undefined>;
  /**
   * A consumer of a vchannel has dealt with its copy. Repeats, and what comes after the end, change
   * nothing. `NOT_FOUND` if no such broadcast is remembered.
   */
  ack(id: bigint, vchannel: string): Promise<void>;
  /** The tasks that are under way, by id. */
  tasks(): TaskInfo[];
  /** How many requests wait for locks. */
  waiting(): number;
  /** What waits to be tried again is tried at once: something that failed may succeed now. */
  trigger(): void;
  /**
   * Ends a task. Without `force` only one that has certainly reached no vchannel: it is as if it had
   * never been. Else `PRECONDITION_FAILED`, which says what is needed, and the task goes on.
   */
  abort(id: bigint, options?: AbortOptions): Promise<void>;
  /** Stops all work and waits for it; the next broadcaster goes on. */
  close(): Promise<void>;
}

interface Claim {
  outcome: Promise<BroadcastResult | undefined>;
  /** There is a task: its end is also that of its duplicates. */
  begun: boolean;
}

/** Creates a broadcaster. See the README for what it guarantees. */
export function createBroadcaster(options: BroadcasterOptions): Broadcaster {
  const { meta, prefix = "broadcast/", controlChannel = "", clock, random } = options;
  const { logger = silentLogger, maxTasks = 1000, sweepMs = 300_000 } = options;
  const { maxTombstones = 8192, tombstoneMs = 86_400_000 } = options;
  const closing = new AbortController();
  const locks = createLocks({ maxWaiting: maxTasks });
  const tasks = new Map<bigint, Task>();
  const claims = new Map<string, Claim>();
  const backoff = createBackoff({ clock, random });
  const tombstones = createTombstones({ max: maxTombstones, keepMs: tombstoneMs, clock, logger });
  let ownership: Ownership | undefined;
  let started = false;
  let underWay = 0;
  let sweeping: Promise<void> | undefined;
  let cancelSweep = (): void => undefined;

  const fence = (error: MillraceError): void => {
    if (closing.signal.aborted) return;
    logger.error("another broadcaster has taken over, this one stops", { error });
    void stop(error.message);
    options.onFenced?.(error);
  };

  const stop = async (why: string): Promise<void> => {
    const reason = new MillraceError("UNAVAILABLE", `${why}; what was begun goes on, ask again`, {
      retryable: true,
      maybeApplied: true,
    });
    closing.abort(reason);
    locks.close(reason);
    cancelSweep();
    await Promise.all([...tasks.values()].map((task) => task.close(reason)));
    await sweeping;
  };

  const sweep = (): void => {
    sweeping ??= tombstones.sweep(closing.signal).finally(() => {
      sweeping = undefined;
    });
  };

  const sweepLater = (): void => {
    cancelSweep = clock.schedule(sweepMs, () => {
      sweep();
      sweepLater();
    });
  };

  const context: TaskContext = {
    append: options.append,
    callbacks: options.callbacks,
    checkOwner: async () => ownership?.check(),
    onFenced: fence,
    onEnd(tombstone, cell) {
      tasks.delete(tombstone.id);
      tombstones.add(tombstone, cell);
      if (tombstones.full) sweep();
    },
    backoff,
    clock,
    logger,
  };

  const add = (record: PendingTask, cell: RecordCell, release: Release, resumed: boolean): Task => {
    const task = createTask({ record, cell, resumed, release, context });
    tasks.set(record.id, task);
    return task;
  };

  /** From the request to the task; the locks are the task's from then on. */
  const begin = async (
    { type, plan, idempotencyKey = "", signal }: BroadcastRequest,
    keys: readonly ResourceKey[],
  ): Promise<Task | undefined> => {
    const release = await locks.acquire(keys, signal);
    try {
      closing.signal.throwIfAborted();
      const planned = await plan();
      if (!planned) {
        release();
        return undefined;
      }
      checkPlan(planned, controlChannel);
      const { header, payload = new Uint8Array(), vchannels, ackWhen = "appended" } = planned;
      // Behind the locks, so that ids of broadcasts that conflict are in the order of the locks.
      const id = await options.nextId();
      signal?.throwIfAborted();
      closing.signal.throwIfAborted();
      const record: PendingTask = {
        state: "pending",
        id,
        epoch: ownership?.epoch ?? 0,
        keys,
        idempotencyKey,
        results: new Map(),
        control: controlChannel,
        leftOut: [],
        message: { type, header, payload },
        ackWhen,
        vchannels: controlChannel === "" ? vchannels : [controlChannel, ...vchannels],
        acked: new Set(),
        since: clock.now(),
      };
      return add(record, createRecordCell(meta, recordKey(prefix, id)), release, false);
    } catch (error) {
      release();
      throw error;
    }
  };

  const carryOut = async (
    request: BroadcastRequest,
    keys: readonly ResourceKey[],
    onBegun: () => void,
  ): Promise<BroadcastResult | undefined> => {
    underWay += 1;
    try {
      const task = await begin(request, keys);
      if (!task) return undefined;
      onBegun();
      task.start();
      return await task.outcome;
    } finally {
      underWay -= 1;
    }
  };

  /** Carries a request out; until it has ended, others with its key find it here. */
  const own = (
    scope: string,
    request: BroadcastRequest,
    keys: readonly ResourceKey[],
  ): Promise<BroadcastResult | undefined> => {
    const work = carryOut(request, keys, () => {
      claimed.begun = true;
    });
    const outcome = work.finally(() => claims.delete(scope));
    const claimed: Claim = { outcome, begun: false };
    claims.set(scope, claimed);
    return outcome;
  };

  const follow = async (
    { outcome }: Claim,
    signal: AbortSignal | undefined,
  ): Promise<BroadcastResult | undefined> => {
    underWay += 1;
    try {
      const result = await untilAborted(outcome, signal);
      return result && { ...result, duplicate: true };
    } finally {
      underWay -= 1;
    }
  };

  const onlyOnce = async (
    request: BroadcastRequest,
    keys: readonly ResourceKey[],
    idempotencyKey: string,
  ): Promise<BroadcastResult | undefined> => {
    const { type, signal } = request;
    const scope = scopeName(type, keys, idempotencyKey);
    for (;;) {
      const over = tombstones.find(scope);
      if (over?.state === "aborted") throw abortedError(over.id);
      if (over) return resultOf(over, true);
      const claimed = claims.get(scope);
      if (!claimed) return untilAborted(own(scope, request, keys), signal);
      try {
        return await follow(claimed, signal);
      } catch (error) {
        // Who came first was refused or gave up, which need not be how this one ends.
        if (claimed.begun || signal?.aborted || closing.signal.aborted) throw error;
      }
    }
  };

  const resume = (record: PendingTask, cell: RecordCell): void => {
    const { id, keys, message, idempotencyKey } = record;
    if (!options.callbacks.has(message.type)) {
      throw new MillraceError(
        "PRECONDITION_FAILED",
        `broadcast ${id} is under way, and its type ${message.type} has no callback; register one`,
      );
    }
    const release = locks.tryAcquire(keys);
    if (!release) {
      throw new MillraceError(
        "DATA_LOSS",
        `broadcast ${id} and another one that is under way lock the same; see that no two clusters share ${prefix}`,
      );
    }
    const task = add(record, cell, release, true);
    if (idempotencyKey === "") return;
    const scope = scopeOf(record);
    const outcome = task.outcome.finally(() => claims.delete(scope));
    // Nobody may ask.
    outcome.catch(() => undefined);
    claims.set(scope, { outcome, begun: true });
  };

  return {
    async load() {
      const loaded = await takeOver({ meta, prefix, random, logger });
      ownership = loaded.ownership;
      for (const { record, cell } of loaded.pending) resume(record, cell);
      for (const { record, cell } of loaded.ended) tombstones.add(record, cell);
      await ownership.settle();
      return [...tasks.values()].map((task) => task.info());
    },
    start() {
      started = true;
      for (const task of tasks.values()) task.start();
      sweepLater();
    },
    async broadcast(request) {
      const { type, idempotencyKey = "", signal } = request;
      closing.signal.throwIfAborted();
      if (!started) throw new MillraceError("UNAVAILABLE", "the broadcaster has not started");
      checkRequest(type, idempotencyKey, options.callbacks);
      const keys = lockOrder(request.keys);
      if (Math.max(underWay, tasks.size) >= maxTasks) {
        throw new MillraceError(
          "RESOURCE_EXHAUSTED",
          `${maxTasks} broadcasts are under way; try again later`,
          { retryAfterMs: 1000 },
        );
      }
      if (idempotencyKey !== "") return onlyOnce(request, keys, idempotencyKey);
      return untilAborted(
        carryOut(request, keys, () => undefined),
        signal,
      );
    },
    async ack(id, vchannel) {
      const task = tasks.get(id);
      if (task) return task.ack(vchannel);
      if (!tombstones.has(id)) throw notFound(id);
    },
    tasks: () =>
      [...tasks.values()].map((task) => task.info()).sort((a, b) => (a.id < b.id ? -1 : 1)),
    waiting: () => locks.waiting,
    trigger: backoff.trigger,
    async abort(id, { force } = {}) {
      const task = tasks.get(id);
      if (task) return task.abort(force);
      if (!tombstones.has(id)) throw notFound(id);
      throw new MillraceError("PRECONDITION_FAILED", `broadcast ${id} is over`);
    },
    close: () => stop("the broadcaster is closing"),
  };
}

function notFound(id: bigint): MillraceError {
  return new MillraceError(
    "NOT_FOUND",
    `there is no broadcast ${id}, or it is over for longer than they are remembered`,
  );
}

/** The promise, or the signal's reason if that is aborted first. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
