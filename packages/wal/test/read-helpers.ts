/** What the tests of reading share: logs that are written batch by batch. */

import type { Tick } from "@millrace/types";
import {
  type BatchAppend,
  type Delivery,
  encodeBatch,
  type Log,
  type RecordBatch,
  type WalMessage,
} from "../src/mod.ts";
import type { ScanSource } from "../src/read/scanner.ts";
import { createTailBuffer, type TailBuffer } from "../src/read/tail-buffer.ts";
import { text } from "./helpers.ts";

/** Message types that begin and end transactions, and the tick of an idle log. */
export const types = { timeTick: 1, begin: 900, commit: 901, rollback: 902 } as const;

/** Forms batches that continue each other. The ticks of a batch follow those of the one before it. */
export interface Batcher {
  /** The tick that the first message of the next batch gets. */
  nextTick(): Tick;
  /** A batch of an owner; of the first one unless told otherwise. */
  next(appends: readonly BatchAppend[], term?: number): RecordBatch;
}

export function createBatcher(options: Parameters<typeof encodeBatch>[1] = {}): Batcher {
  let next = 0;
  let tick = 1n;
  let previousChecksum = 0;
  return {
    nextTick: () => tick,
    next(appends, term = 1) {
      const input = { term, sequence: next, firstTick: tick, previousChecksum, appends };
      const batch = encodeBatch(input, options);
      next++;
      tick = batch.lastTick + 1n;
      previousChecksum = batch.checksum;
      return batch;
    },
  };
}

/** An append of texts. */
export function plain(...payloads: string[]): BatchAppend {
  return { messages: payloads.map((payload) => text(payload)) };
}

/** An append of texts to a transaction. */
export function body(txn: Tick, ...payloads: string[]): BatchAppend {
  return { ...plain(...payloads), txn };
}

function control(type: number, txn: Tick, vchannel: string): BatchAppend {
  const message: WalMessage = {
    type,
    vchannel,
    header: new Uint8Array(0),
    payload: new Uint8Array(0),
  };
  return { messages: [message], txn };
}

/** The beginning of a transaction, whose name is the tick that it gets. */
export const begin = (vchannel = "v"): BatchAppend => control(types.begin, 0n, vchannel);
export const commit = (txn: Tick, vchannel = "v"): BatchAppend =>
  control(types.commit, txn, vchannel);
export const rollback = (txn: Tick, vchannel = "v"): BatchAppend =>
  control(types.rollback, txn, vchannel);
export const timeTick = (): BatchAppend => control(types.timeTick, 0n, "");

const decoder = new TextDecoder();

/** The payloads of deliveries as text, each delivery's joined by commas. */
export function textsOfDelivery({ messages }: Delivery): string {
  return messages.map(({ payload }) => decoder.decode(payload)).join(",");
}

/** A source over a log, which is told of each batch that is durable. */
export interface LiveSource extends ScanSource {
  append(batch: RecordBatch): Promise<void>;
  /** Ends it, in order or with an error. */
  end(error: ReturnType<ScanSource["ended"]>): void;
}

export function createSource(
  log: Log,
  tail: TailBuffer = createTailBuffer({ maxBytes: 64 * 1024 * 1024 }),
): LiveSource {
  const wakers = new Set<() => void>();
  const open = new Map<Tick, number>();
  let next = log.bounds().next;
  let ended: ReturnType<ScanSource["ended"]>;
  const wakeAll = (): void => {
    for (const wake of [...wakers]) wake();
  };
  return {
    log,
    tail,
    wakers,
    next: () => next,
    oldestOpen: () => Math.min(next, ...open.values()),
    ended: () => ended,
    async append(batch) {
      await log.append(batch);
      for (const { type, tick, txn } of batch.messages()) {
        if (type === types.begin) open.set(tick, batch.sequence);
        if (type === types.commit || type === types.rollback) open.delete(txn);
      }
      next = batch.sequence + 1;
      tail.push(batch);
      wakeAll();
    },
    end(error) {
      ended = error;
      wakeAll();
    },
  };
}
