/**
 * The way of an append from its caller to the sequencer.
 *
 * In this order: is the log open, what does the append look like, is the load bearable, is there room, is
 * something exclusive on its way, was it made before, does the state of the log allow it. From there on it
 * cannot be called back.
 *
 * @module
 */

import { isControlChannel, MillraceError, type Tick } from "@millrace/types";
import { encodedAppendBytes } from "../encode.ts";
import type { WalMessage } from "../record-batch.ts";
import type { Sequencer } from "../sequencer.ts";
import type { AppendOptions, AppendResult } from "../wal.ts";
import type { WalState } from "../wal-state.ts";
import { checkMessages, checkSize, invalid } from "./check-messages.ts";
import { keyName } from "./key-window.ts";
import type { Locks } from "./locks.ts";
import { createCollection, isData, isExclusive } from "./message-types.ts";
import { PendingAppend, resultOf } from "./pending-append.ts";
import { rollBackOpen } from "./rollbacks.ts";
import type { Room } from "./room.ts";
import { claimSegments, type SegmentLimits } from "./segments.ts";
import { type InsertFacts, insertFacts, type Vchannel } from "./shards.ts";
import type { Throttle } from "./throttle.ts";

/** Options of {@linkcode createPipeline}. */
export interface PipelineOptions {
  sequencer: Sequencer;
  state: WalState;
  room: Room;
  locks: Locks;
  /** Default: appends are let in at any rate. */
  throttle?: Throttle | undefined;
  /** Vchannels need not be created. */
  anyVchannel: boolean;
  /** The largest append, in bytes as encoded. */
  maxAppendBytes: number;
  /** The most bytes of open transactions, all together. */
  maxOpenTxnBytes: number;
  /** Default: inserts belong to no segments. */
  segments?: SegmentLimits | undefined;
}

/** Brings appends to the sequencer. */
export interface Pipeline {
  append(messages: readonly WalMessage[], options: AppendOptions): Promise<AppendResult>;
  /** Appends a message that only the log itself writes: it needs no room, and nothing holds it back. */
  appendOwn(message: WalMessage, key?: string, txn?: Tick): Promise<AppendResult>;
  /** The append with this key that is on its way or was made; `undefined` if there is none. */
  findKey(vchannel: string, key: string): Promise<AppendResult> | undefined;
  /** The vchannel, if it is known. `VCHANNEL_NOT_EXIST` if it takes no appends. */
  vchannelOf(name: string): Vchannel | undefined;
  /** How many appends were taken, and how many were refused because of too much load. */
  counters(): { appends: number; refused: number };
}

const none: readonly InsertFacts[] = [];

/** Creates the pipeline of a log. */
export function createPipeline(options: PipelineOptions): Pipeline {
  const { sequencer, state, room, locks, throttle, segments } = options;
  const { shards, txns } = state;
  /** Appends with a key that are on their way. */
  const underWay = new Map<string, Promise<AppendResult>>();
  let appends = 0;
  let refused = 0;

  function admit(
    messages: readonly WalMessage[],
    appendOptions: AppendOptions,
  ): Promise<AppendResult> {
    sequencer.check();
    const { idempotencyKey = "", signal, whenFull } = appendOptions;
    signal?.throwIfAborted();
    const { type, vchannel } = checkMessages(messages, idempotencyKey);
    const bytes = encodedAppendBytes({ messages, idempotencyKey });
    checkSize(bytes, options.maxAppendBytes);
    if (isData(type)) throttle?.admit(bytes);
    const append = new PendingAppend(state, messages, bytes, appendOptions);
    if (!room.tryTake(bytes)) {
      if (whenFull !== "wait") throw room.refusal();
      return admitLater(append, room.take(bytes, signal), signal);
    }
    const blocker = locks.blocker(vchannel, isExclusive(type));
    return blocker ? admitLater(append, blocker, signal) : enter(append);
  }

  async function admitLater(
    append: PendingAppend,
    ready: Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<AppendResult> {
    const { type, vchannel } = firstOf(append);
    await ready;
    for (;;) {
      const blocker = locks.blocker(vchannel, isExclusive(type));
      if (!blocker) break;
      await blocker;
    }
    if (signal?.aborted) {
      room.give(append.bytes);
      throw signal.reason;
    }
    return enter(append);
  }

  /** Takes an append that has its room, which is given back when it is settled or not taken. */
  function enter(append: PendingAppend): Promise<AppendResult> {
    try {
      sequencer.check();
      const earlier = existing(append);
      if (!earlier) return sequence(append);
      room.give(append.bytes);
      return earlier;
    } catch (error) {
      room.give(append.bytes);
      throw error;
    }
  }

  function existing(append: PendingAppend): Promise<AppendResult> | undefined {
    const { idempotencyKey: key, txn } = append;
    const { type, vchannel } = firstOf(append);
    const found = key === "" ? undefined : find(vchannel, key, txn);
    if (found || type !== createCollection) return found;
    const origin = shards.vchannels.get(vchannel);
    if (!origin) return undefined;
    const { id, tick: firstTick } = origin;
    return Promise.resolve(resultOf({ id, firstTick, count: 1 }, true, state));
  }

  function sequence(append: PendingAppend): Promise<AppendResult> {
    const { messages, txn } = append;
    const { type, vchannel } = firstOf(append);
    if (isExclusive(type)) return sequenceExclusive(append);
    const shard = vchannelOf(vchannel);
    const inserts = shard ? checkInserts(shard, messages) : none;
    if (txn !== 0n) joinTxn(append);
    if (segments && shard && inserts.length > 0) {
      append.companions = () => claimSegments(shard, inserts, segments);
      append.mostMessages += inserts.length;
    }
    append.settled = onSettled;
    return start(append);
  }

  /** What is exclusive ends the transactions that are open, and holds back what comes after it. */
  function sequenceExclusive(append: PendingAppend): Promise<AppendResult> {
    const { type, vchannel } = firstOf(append);
    if (append.txn !== 0n) {
      throw invalid("txn", "what changes a vchannel cannot be part of a transaction");
    }
    if (type === createCollection && vchannel === "") {
      throw invalid("messages[0].vchannel", "name the vchannel");
    }
    if (type !== createCollection) vchannelOf(vchannel);
    const release = locks.hold(vchannel);
    const begun = locks.begun(vchannel);
    return begun ? startLater(append, begun, release) : startExclusive(append, release);
  }

  /** Transactions whose beginning is on its way are open when this is written. */
  async function startLater(
    append: PendingAppend,
    begun: Promise<unknown>,
    release: () => void,
  ): Promise<AppendResult> {
    await begun;
    try {
      sequencer.check();
    } catch (error) {
      release();
      room.give(append.bytes);
      throw error;
    }
    return startExclusive(append, release);
  }

  function startExclusive(append: PendingAppend, release: () => void): Promise<AppendResult> {
    const rollbacks = rollBackOpen(state, firstOf(append).vchannel);
    let claimed = false;
    append.companions = () => {
      claimed = true;
      return rollbacks;
    };
    append.mostMessages += rollbacks?.appends.length ?? 0;
    append.settled = () => {
      // It has failed before its batch was formed.
      if (!claimed) rollbacks?.failed();
      release();
      onSettled(append);
    };
    return start(append);
  }

  function start(append: PendingAppend): Promise<AppendResult> {
    sequencer.add(append);
    appends++;
    if (append.idempotencyKey !== "") underWay.set(nameOf(append), append.result);
    return append.result;
  }

  function onSettled(append: PendingAppend): void {
    if (append.idempotencyKey !== "") underWay.delete(nameOf(append));
    room.give(append.bytes);
  }

  function appendOwn(message: WalMessage, key = "", txn: Tick = 0n): Promise<AppendResult> {
    const messages = [message];
    const bytes = encodedAppendBytes({ messages, idempotencyKey: key });
    const append = new PendingAppend(state, messages, bytes, { idempotencyKey: key, txn });
    if (key !== "") append.settled = () => underWay.delete(nameOf(append));
    sequencer.add(append);
    if (key !== "") underWay.set(nameOf(append), append.result);
    return append.result;
  }

  function joinTxn(append: PendingAppend): void {
    const txn = txns.find(append.txn, firstOf(append).vchannel);
    const bytes = dataBytes(append.messages);
    if (txns.bytes() + bytes > options.maxOpenTxnBytes) {
      const most = `${options.maxOpenTxnBytes} are allowed`;
      throw new MillraceError(
        "RESOURCE_EXHAUSTED",
        `open transactions have ${txns.bytes()} bytes, of which ${most}; commit some`,
        { retryAfterMs: 1000 },
      );
    }
    txns.grow(txn, bytes);
    txn.onTheirWay++;
    append.session = txn;
    append.sessionBytes = bytes;
  }

  function find(vchannel: string, key: string, txn: Tick): Promise<AppendResult> | undefined {
    const earlier = underWay.get(underWayName(vchannel, key, txn));
    if (earlier) return earlier.then((result) => ({ ...result, duplicate: true }));
    const place = txn === 0n ? state.keys.find(vchannel, key) : txns.open.get(txn)?.keys.get(key);
    return place && Promise.resolve(resultOf(place, true, state));
  }

  function vchannelOf(name: string): Vchannel | undefined {
    const vchannel = shards.vchannels.get(name);
    const always = name === "" || isControlChannel(name);
    if (vchannel || always || options.anyVchannel) return vchannel;
    throw new MillraceError(
      "VCHANNEL_NOT_EXIST",
      `${name} does not exist on this pchannel; refresh the catalog`,
    );
  }

  /** The inserts among the messages, which the vchannel takes. */
  function checkInserts(shard: Vchannel, messages: readonly WalMessage[]): readonly InsertFacts[] {
    if (!segments && shard.schemaVersion === 0 && shard.partitions.size === 0) return none;
    const inserts: InsertFacts[] = [];
    for (const message of messages) {
      const facts = insertFacts(message);
      if (!facts) continue;
      shards.check(shard, facts);
      inserts.push(facts);
    }
    return inserts;
  }

  return {
    append(messages, appendOptions) {
      try {
        return admit(messages, appendOptions);
      } catch (error) {
        if (MillraceError.is(error, "RESOURCE_EXHAUSTED")) refused++;
        return Promise.reject(error);
      }
    },
    appendOwn,
    findKey: (vchannel, key) => find(vchannel, key, 0n),
    vchannelOf,
    counters: () => ({ appends, refused }),
  };
}

function firstOf({ messages }: PendingAppend): WalMessage {
  return messages[0] as WalMessage;
}

function nameOf(append: PendingAppend): string {
  return underWayName(firstOf(append).vchannel, append.idempotencyKey, append.txn);
}

/** The name under which an append with a key is on its way. */
function underWayName(vchannel: string, key: string, txn: Tick): string {
  return txn === 0n ? keyName(vchannel, key) : keyName(`${vchannel}\0${txn}`, key);
}

/** Bytes that readers hold while a transaction is open. */
function dataBytes(messages: readonly WalMessage[]): number {
  let bytes = 0;
  for (const { header, payload } of messages) bytes += header.length + payload.length;
  return bytes;
}
