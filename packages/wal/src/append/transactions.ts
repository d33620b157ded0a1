/**
 * Transactions that are open: what was appended to them counts when they are committed.
 *
 * A transaction is known by the tick of its BEGIN_TXN message. Its lease is counted in ticks, so that
 * whoever owns the log comes to the same end; the owner then writes a ROLLBACK_TXN message, so that a
 * reader need not know of leases.
 *
 * @module
 */

import { fromBinary } from "@bufbuild/protobuf";
import { MillraceError, type Tick } from "@millrace/types";
import { BeginTxnHeaderSchema } from "@millrace/types/gen";
import type { TxnSnapshot } from "../wal.ts";
import type { AppendPlace } from "./key-window.ts";

/** An open transaction. */
export interface Txn {
  readonly txn: Tick;
  readonly vchannel: string;
  /** Of the batch with its BEGIN_TXN message. */
  readonly sequence: number;
  readonly leaseMs: number;
  /** The idempotency key of its beginning; empty: none. */
  readonly key: string;
  /** Of its last message that is durable. */
  lastTick: Tick;
  /** Bytes of its messages, those on their way included. */
  bytes: number;
  /** Appends to it that are on their way. */
  onTheirWay: number;
  /** What ends it, on its way or waiting for the appends; nothing may be appended any more. */
  ending: "commit" | "rollback" | undefined;
  /** The keys of its appends. */
  keys: Map<string, AppendPlace>;
  /** Called when nothing is on its way any more. */
  whenSettled: (() => void)[];
  /** Called when it is not open any more, or when its rollback could not be written. */
  whenEnded: (() => void)[];
}

/** The open transactions of a log: a fold over its messages. */
export interface Transactions {
  /** By the tick of their BEGIN_TXN message, oldest first. */
  open: ReadonlyMap<Tick, Txn>;
  /** Bytes of all of them. */
  bytes(): number;
  begin(begun: Pick<Txn, "txn" | "vchannel" | "sequence" | "leaseMs" | "key">): void;
  /** Bytes of an append to a transaction are on their way, or, if negative, were not written. */
  grow(txn: Txn, bytes: number): void;
  end(txn: Tick): void;
  /**
   * An open transaction that takes appends. `TRANSACTION_EXPIRED` if it is not open,
   * `INVALID_TRANSACTION_STATE` if it is being ended, `INVALID_ARGUMENT` if it is of another vchannel.
   */
  find(txn: Tick, vchannel: string): Txn;
  /** The sequence of the oldest BEGIN_TXN message, `next` if none is open. */
  oldest(next: number): number;
  /** Those at rest whose lease has run out by a tick. */
  expired(tick: Tick): Txn[];
  snapshot(): TxnSnapshot[];
}

/** The lease of a transaction that names none, in milliseconds. */
export const defaultLeaseMs = 10_000;
/** The longest lease, in milliseconds. */
export const maxLeaseMs = 600_000;

/** Creates the open transactions of a snapshot, or none. */
export function createTransactions(from: readonly TxnSnapshot[] = []): Transactions {
  const open = new Map<Tick, Txn>();
  let total = 0;

  const add = (txn: Txn): void => {
    open.set(txn.txn, txn);
    total += txn.bytes;
  };
  for (const { keys, ...rest } of from) {
    const places = new Map(keys.map(({ key, ...place }) => [key, place]));
    add({
      ...rest,
      keys: places,
      onTheirWay: 0,
      ending: undefined,
      whenSettled: [],
      whenEnded: [],
    });
  }

  return {
    open,
    bytes: () => total,
    begin(begun) {
      add({
        ...begun,
        lastTick: begun.txn,
        bytes: 0,
        onTheirWay: 0,
        ending: undefined,
        keys: new Map(),
        whenSettled: [],
        whenEnded: [],
      });
    },
    grow(txn, bytes) {
      txn.bytes += bytes;
      if (open.get(txn.txn) === txn) total += bytes;
    },
    end(txn) {
      const ended = open.get(txn);
      if (!ended) return;
      total -= ended.bytes;
      open.delete(txn);
      tellEnded(ended);
    },
    find(txn, vchannel) {
      const found = open.get(txn);
      if (!found) throw expired(txn);
      if (found.vchannel !== vchannel) {
        throw new MillraceError(
          "INVALID_ARGUMENT",
          `transaction ${txn} is of ${found.vchannel}, not of ${vchannel}`,
          { field: "txn" },
        );
      }
      if (found.ending) throw endingAlready(txn);
      return found;
    },
    oldest(next) {
      for (const { sequence } of open.values()) return sequence;
      return next;
    },
    expired(tick) {
      const all: Txn[] = [];
      for (const txn of open.values()) {
        if (txn.ending || txn.onTheirWay > 0) continue;
        if (txn.lastTick + (BigInt(txn.leaseMs) << 18n) <= tick) all.push(txn);
      }
      return all;
    },
    snapshot: () =>
      [...open.values()].map(
        ({ txn, vchannel, sequence, lastTick, leaseMs, key, bytes, keys }) => ({
          txn,
          vchannel,
          sequence,
          lastTick,
          leaseMs,
          key,
          bytes,
          keys: [...keys].map(([name, { id, firstTick, count }]) => {
            return { key: name, id, firstTick, count };
          }),
        }),
      ),
  };
}

/** The lease that the header of a BEGIN_TXN message asks for, in milliseconds. */
export function leaseOf(header: Uint8Array): number {
  const { leaseMs } = fromBinary(BeginTxnHeaderSchema, header);
  return leaseMs === 0 ? defaultLeaseMs : Math.min(leaseMs, maxLeaseMs);
}

/** The error for a transaction that is not open. */
export function expired(txn: Tick): MillraceError {
  return new MillraceError(
    "TRANSACTION_EXPIRED",
    `transaction ${txn} is not open: begin the whole transaction again`,
  );
}

/** Nothing is appended to a transaction any more, and it will be rolled back. */
export function giveUp(txn: Txn): void {
  txn.ending = "rollback";
  for (const settled of txn.whenSettled.splice(0)) settled();
}

/** The rollback could not be written: the transaction is still open. */
export function takeBack(txn: Txn): void {
  txn.ending = undefined;
  tellEnded(txn);
}

/** Resolves when a transaction that is being rolled back is, or when that has failed. */
export function untilEnded(txn: Txn): Promise<void> {
  return new Promise((resolve) => txn.whenEnded.push(resolve));
}

function tellEnded(txn: Txn): void {
  for (const ended of txn.whenEnded.splice(0)) ended();
}

/** The error for an append to a transaction that is being ended. */
export function endingAlready(txn: Tick): MillraceError {
  return new MillraceError(
    "INVALID_TRANSACTION_STATE",
    `transaction ${txn} is being committed or rolled back`,
  );
}
