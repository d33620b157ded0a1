/**
 * The way of an append from its caller to the sequencer.
 *
 * In this order: is the log open, what does the append look like, is the load bearable, is there room, is
 * something exclusive on its way, was it made before, does the state of the log allow it. From there on it
 * cannot be called back.
 *
 * @module
 */

import { MillraceError, type Tick } from "@millrace/types";
import { encodedAppendBytes } from "../encode.ts";
import type { WalMessage } from "../record-batch.ts";
import type { Sequencer } from "../sequencer.ts";
import type { AppendOptions, AppendResult } from "../wal.ts";
import type { WalState } from "../wal-state.ts";
import { checkMessages, checkSize, invalid } from "./check-messages.ts";
import { rollBackOpen } from "./companions.ts";
import { keyName } from "./key-window.ts";
import type { Locks } from "./locks.ts";
import { createCollection, insert, isData, isExclusive } from "./message-types.ts";
import { PendingAppend, type PendingAppendInput, resultOf } from "./pending-append.ts";
import type { Room } from "./room.ts";
import { claimSegments, type SegmentLimits } from "./segments.ts";
import { insertFacts, type Vchannel } from "./shards.ts";
import type { Throttle } from "./throttle.ts";
import type { Txn } from "./transactions.ts";

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

interface Admission {
  messages: readonly WalMessage[];
  first: WalMessage;
  options: AppendOptions;
  key: string;
  txn: Tick;
  bytes: number;
}

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
    appendOptions.signal?.throwIfAborted();
    const { idempotencyKey: key = "", txn = 0n, whenFull } = appendOptions;
    const first = checkMessages(messages, key);
    const bytes = encodedAppendBytes({ messages, idempotencyKey: key });
    checkSize(bytes, options.maxAppendBytes);
    if (isData(first.type)) throttle?.admit(bytes);
    const admission: Admission = { messages, first, options: appendOptions, key, txn, bytes };
    if (!room.tryTake(bytes)) {
      if (whenFull !== "wait") throw room.refusal();
      return admitLater(admission, room.take(bytes, appendOptions.signal));
    }
    const blocker = locks.blocker(first.vchannel, isExclusive(first.type));
    return blocker ? admitLater(admission, blocker) : enter(admission);
  }

  async function admitLater(admission: Admission, ready: Promise<void>): Promise<AppendResult> {
    const { first, options: appendOptions } = admission;
    await ready;
    for (;;) {
      const blocker = locks.blocker(first.vchannel, isExclusive(first.type));
      if (!blocker) break;
      await blocker;
    }
    if (appendOptions.signal?.aborted) {
      room.give(admission.bytes);
      throw appendOptions.signal.reason;
    }
    return enter(admission);
  }

  /** Takes an append that has its room, which is given back when it is settled or not taken. */
  function enter(admission: Admission): Promise<AppendResult> {
    try {
      sequencer.check();
      const earlier = existing(admission);
      if (!earlier) return sequence(admission);
      room.give(admission.bytes);
      return earlier;
    } catch (error) {
      room.give(admission.bytes);
      throw error;
    }
  }

  function existing({ first, key, txn }: Admission): Promise<AppendResult> | undefined {
    const found = key === "" ? undefined : find(first.vchannel, key, txn);
    if (found || first.type !== createCollection) return found;
    const origin = shards.vchannels.get(first.vchannel);
    if (!origin) return undefined;
    const { id, tick: firstTick } = origin;
    return Promise.resolve(resultOf({ id, firstTick, count: 1 }, true, state));
  }

  function sequence(admission: Admission): Promise<AppendResult> {
    const { messages, first, txn } = admission;
    const { type, vchannel } = first;
    if (isExclusive(type)) return sequenceExclusive(admission);
    const shard = vchannelOf(vchannel);
    if (shard) checkInserts(shard, messages);
    const session = txn === 0n ? undefined : joinTxn(txn, vchannel, messages);
    const segmented = segments && shard && type === insert;
    return start(admission, {
      session,
      sessionBytes: session && dataBytes(messages),
      companions: segmented ? () => claimSegments(shard, messages, segments) : undefined,
      mostCompanions: segmented ? messages.length : 0,
    });
  }

  /** What is exclusive ends the transactions that are open, and holds back what comes after it. */
  function sequenceExclusive(admission: Admission): Promise<AppendResult> {
    const { type, vchannel } = admission.first;
    if (admission.txn !== 0n) {
      throw invalid("txn", "what changes a vchannel cannot be part of a transaction");
    }
    if (type === createCollection && vchannel === "") {
      throw invalid("messages[0].vchannel", "name the vchannel");
    }
    if (type !== createCollection) vchannelOf(vchannel);
    const release = locks.hold(vchannel);
    const rollbacks = rollBackOpen(state, vchannel);
    return start(
      admission,
      { companions: () => rollbacks, mostCompanions: rollbacks?.appends.length ?? 0 },
      release,
    );
  }

  function start(
    { messages, first, options: appendOptions, key, txn, bytes }: Admission,
    more: Partial<PendingAppendInput>,
    release?: () => void,
  ): Promise<AppendResult> {
    const name = key === "" ? "" : nameOf(first.vchannel, key, txn);
    const pending = new PendingAppend({
      state,
      messages,
      idempotencyKey: key,
      txn,
      barrier: appendOptions.barrier ?? 0n,
      bytes,
      ...more,
      settled() {
        if (name !== "") underWay.delete(name);
        release?.();
        room.give(bytes);
      },
    });
    sequencer.add(pending);
    appends++;
    if (name !== "") underWay.set(name, pending.result);
    return pending.result;
  }

  function appendOwn(message: WalMessage, key = "", txn: Tick = 0n): Promise<AppendResult> {
    const name = key === "" ? "" : nameOf(message.vchannel, key, 0n);
    const messages = [message];
    const pending = new PendingAppend({
      state,
      messages,
      idempotencyKey: key,
      txn,
      barrier: 0n,
      bytes: encodedAppendBytes({ messages, idempotencyKey: key }),
      settled() {
        if (name !== "") underWay.delete(name);
      },
    });
    sequencer.add(pending);
    if (name !== "") underWay.set(name, pending.result);
    return pending.result;
  }

  function joinTxn(name: Tick, vchannel: string, messages: readonly WalMessage[]): Txn {
    const txn = txns.find(name, vchannel);
    const bytes = dataBytes(messages);
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
    return txn;
  }

  function find(vchannel: string, key: string, txn: Tick): Promise<AppendResult> | undefined {
    const earlier = underWay.get(nameOf(vchannel, key, txn));
    if (earlier) return earlier.then((result) => ({ ...result, duplicate: true }));
    const place = txn === 0n ? state.keys.find(vchannel, key) : txns.open.get(txn)?.keys.get(key);
    return place && Promise.resolve(resultOf(place, true, state));
  }

  function vchannelOf(name: string): Vchannel | undefined {
    const vchannel = shards.vchannels.get(name);
    if (vchannel || name === "" || options.anyVchannel) return vchannel;
    throw new MillraceError(
      "VCHANNEL_NOT_EXIST",
      `${name} does not exist on this pchannel; refresh the catalog`,
    );
  }

  function checkInserts(shard: Vchannel, messages: readonly WalMessage[]): void {
    if (shard.schemaVersion === 0 && shard.partitions.size === 0) return;
    for (const { type, header } of messages) {
      const facts = type === insert ? insertFacts(header) : undefined;
      if (facts) shards.check(shard, facts);
    }
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

/** The name under which an append with a key is on its way. */
function nameOf(vchannel: string, key: string, txn: Tick): string {
  return txn === 0n ? keyName(vchannel, key) : keyName(`${vchannel}\0${txn}`, key);
}

/** Bytes that readers hold while a transaction is open. */
function dataBytes(messages: readonly WalMessage[]): number {
  let bytes = 0;
  for (const { header, payload } of messages) bytes += header.length + payload.length;
  return bytes;
}
