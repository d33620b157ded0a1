/**
 * What a log means: which vchannels exist, and which appends were made. A fold over its batches.
 *
 * @module
 */

import { MillraceError, type Position, type Tick } from "@millrace/types";
import type { RecordBatch } from "./record-batch.ts";
import type { AppendResult, WalSnapshot } from "./wal.ts";

/** MESSAGE_TYPE_CREATE_COLLECTION: a vchannel begins. */
export const createCollection = 5;
/** MESSAGE_TYPE_DROP_COLLECTION: a vchannel ends. */
export const dropCollection = 6;

/** The message that created a vchannel. */
export interface VchannelOrigin {
  header: Uint8Array;
  id: Position;
  tick: Tick;
}

interface AppendPlace {
  id: Position;
  firstTick: Tick;
  count: number;
}

/** The state of a log up to a batch. */
export interface WalState {
  /** The sequence of the batch that comes next. */
  next: number;
  lastTick: Tick;
  /** Of the last batch; 0 if there is none. */
  checksum: number;
  vchannels: ReadonlyMap<string, VchannelOrigin>;
  /** The header of each vchannel's origin. */
  headers: ReadonlyMap<string, Uint8Array>;
  createVchannel(name: string, origin: VchannelOrigin): void;
  dropVchannel(name: string): void;
  /** Where the append with this key stands, if it is within the window. */
  findKey(vchannel: string, key: string): AppendResult | undefined;
  rememberKey(vchannel: string, key: string, place: AppendPlace): void;
  /** Takes a batch into account whose messages were not told one by one. */
  apply(batch: RecordBatch): void;
  snapshot(): WalSnapshot;
}

/** Creates a state from a snapshot, or that of an empty log. */
export function createWalState(maxKeys: number, snapshot?: WalSnapshot): WalState {
  const vchannels = new Map<string, VchannelOrigin>();
  const headers = new Map<string, Uint8Array>();
  // In order of insertion, so that the first is the oldest.
  const keys = new Map<string, { vchannel: string; key: string } & AppendPlace>();

  const state: WalState = {
    next: snapshot?.sequence ?? 0,
    lastTick: snapshot?.lastTick ?? 0n,
    checksum: 0,
    vchannels,
    headers,
    createVchannel(name, { header, id, tick }) {
      if (vchannels.has(name)) return;
      // A copy: the header is a view of something much larger.
      const own = header.slice();
      vchannels.set(name, { header: own, id, tick });
      headers.set(name, own);
    },
    dropVchannel(name) {
      vchannels.delete(name);
      headers.delete(name);
    },
    findKey(vchannel, key) {
      const place = keys.get(keyName(vchannel, key));
      return place && resultOf(place.id, place.firstTick, place.count, true);
    },
    rememberKey(vchannel, key, place) {
      if (maxKeys === 0) return;
      keys.set(keyName(vchannel, key), { vchannel, key, ...place });
      if (keys.size <= maxKeys) return;
      for (const oldest of keys.keys()) {
        keys.delete(oldest);
        return;
      }
    },
    apply(batch) {
      if (batch.sequence !== state.next) {
        throw new MillraceError(
          "DATA_LOSS",
          `batch ${batch.sequence} stands where batch ${state.next} should`,
          { expected: String(state.next) },
        );
      }
      for (const message of batch.messages()) {
        const { type, vchannel, header, id, tick, idempotencyKey } = message;
        if (type === createCollection) state.createVchannel(vchannel, { header, id, tick });
        if (type === dropCollection) state.dropVchannel(vchannel);
        if (idempotencyKey !== "") {
          const place = { id, firstTick: tick, count: message.appendCount };
          state.rememberKey(vchannel, idempotencyKey, place);
        }
      }
      state.next = batch.sequence + 1;
      state.lastTick = batch.lastTick;
      state.checksum = batch.checksum;
    },
    snapshot: () => ({
      sequence: state.next,
      lastTick: state.lastTick,
      vchannels: [...vchannels].map(([name, { header, id, tick }]) => ({
        name,
        created: header,
        id,
        tick,
      })),
      keys: [...keys.values()],
    }),
  };
  for (const { name, created, id, tick } of snapshot?.vchannels ?? []) {
    state.createVchannel(name, { header: created, id, tick });
  }
  for (const { vchannel, key, id, firstTick, count } of snapshot?.keys ?? []) {
    state.rememberKey(vchannel, key, { id, firstTick, count });
  }
  return state;
}

/** The result of an append of `count` messages. */
export function resultOf(
  id: Position,
  firstTick: Tick,
  count: number,
  duplicate: boolean,
): AppendResult {
  return { id, firstTick, lastTick: firstTick + BigInt(count - 1), duplicate };
}

/** One string for a vchannel and a key of it. */
export function keyName(vchannel: string, key: string): string {
  return `${vchannel}\0${key}`;
}
