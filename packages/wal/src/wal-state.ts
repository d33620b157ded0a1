/**
 * What a log means: its vchannels, its open transactions, and which appends were made. A fold over its
 * batches.
 *
 * @module
 */

import { MillraceError, type Tick } from "@millrace/types";
import { type AppendPlace, createKeyWindow, type KeyWindow } from "./append/key-window.ts";
import { beginTxn, commitTxn, insert, rollbackTxn } from "./append/message-types.ts";
import { countInsert } from "./append/segments.ts";
import { createShards, insertFacts, type Shards } from "./append/shards.ts";
import { createTransactions, leaseOf, type Transactions } from "./append/transactions.ts";
import type { RecordBatch } from "./record-batch.ts";
import type { WalSnapshot } from "./wal.ts";

/** An append as it stands in the log. */
export interface AppliedAppend extends AppendPlace {
  /** Of its first message. */
  type: number;
  vchannel: string;
  header: Uint8Array;
  idempotencyKey: string;
  /** The transaction it belongs to; 0: none. */
  txn: Tick;
}

/** The state of a log up to a batch. */
export interface WalState {
  /** The sequence of the batch that comes next. */
  next: number;
  lastTick: Tick;
  /** Of the last batch; 0 if there is none. */
  checksum: number;
  readonly shards: Shards;
  readonly txns: Transactions;
  readonly keys: KeyWindow;
  /** Takes an append into account. */
  applyAppend(append: AppliedAppend): void;
  /** A transaction was rolled back: as if it had never been begun. */
  rolledBack(txn: Tick): void;
  /** Takes a batch into account whose appends were not told one by one. */
  applyBatch(batch: RecordBatch): void;
  /** The batch is durable. */
  advance(batch: RecordBatch): void;
  snapshot(): WalSnapshot;
}

/** The vchannel under which a committed transaction is remembered, so that a second commit finds it. */
export const commits = "\0commit";

/** Creates a state from a snapshot, or that of an empty log. */
export function createWalState(maxKeys: number, snapshot?: WalSnapshot): WalState {
  const shards = createShards(snapshot?.vchannels);
  const txns = createTransactions(snapshot?.txns);
  const keys = createKeyWindow(maxKeys, snapshot?.keys);

  const remember = (append: AppliedAppend): void => {
    const { vchannel, idempotencyKey, txn, id, firstTick, count } = append;
    if (idempotencyKey === "") return;
    if (txn === 0n) keys.remember(vchannel, idempotencyKey, { id, firstTick, count });
    else txns.open.get(txn)?.keys.set(idempotencyKey, { id, firstTick, count });
  };

  const state: WalState = {
    next: snapshot?.sequence ?? 0,
    lastTick: snapshot?.lastTick ?? 0n,
    checksum: snapshot?.checksum ?? 0,
    shards,
    txns,
    keys,
    applyAppend(append) {
      const { type, vchannel, header, id, firstTick, count, txn } = append;
      switch (type) {
        case insert:
          break;
        case beginTxn:
          txns.begin({
            txn: firstTick,
            vchannel,
            sequence: id.sequence,
            leaseMs: leaseOf(header),
            key: append.idempotencyKey,
          });
          break;
        case commitTxn:
          keys.remember(commits, String(txn), { id, firstTick, count });
          txns.end(txn);
          break;
        case rollbackTxn:
          state.rolledBack(txn);
          break;
        default:
          shards.apply({ type, vchannel, header, id, tick: firstTick });
      }
      remember(append);
      const session = txn === 0n ? undefined : txns.open.get(txn);
      if (session) session.lastTick = firstTick + BigInt(count - 1);
    },
    rolledBack(name) {
      const txn = txns.open.get(name);
      if (txn && txn.key !== "") keys.forget(txn.vchannel, txn.key);
      txns.end(name);
    },
    applyBatch(batch) {
      if (batch.sequence !== state.next || batch.previousChecksum !== state.checksum) {
        throw new MillraceError(
          "DATA_LOSS",
          `batch ${batch.sequence} does not continue the log, whose next is ${state.next}`,
          { expected: String(state.next) },
        );
      }
      for (const message of batch.messages()) {
        const { type, vchannel, header, payload, id, tick, appendCount: count, txn } = message;
        if (count > 0) {
          const { idempotencyKey } = message;
          const append = {
            type,
            vchannel,
            header,
            id,
            firstTick: tick,
            count,
            idempotencyKey,
            txn,
          };
          state.applyAppend(append);
        }
        const session = txn === 0n ? undefined : txns.open.get(txn);
        if (session) txns.grow(session, header.length + payload.length);
        const shard = type === insert ? shards.vchannels.get(vchannel) : undefined;
        const facts = shard && insertFacts(message);
        if (facts) countInsert(shard, facts);
      }
      state.advance(batch);
    },
    advance(batch) {
      state.next = batch.sequence + 1;
      state.lastTick = batch.lastTick;
      state.checksum = batch.checksum;
    },
    snapshot: () => ({
      sequence: state.next,
      lastTick: state.lastTick,
      checksum: state.checksum,
      vchannels: shards.snapshot(),
      keys: keys.snapshot(),
      txns: txns.snapshot(),
    }),
  };
  return state;
}
