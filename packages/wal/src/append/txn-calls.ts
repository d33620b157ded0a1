/**
 * Beginning, committing and rolling back transactions.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { type Live, MillraceError, readLive, type Tick } from "@millrace/types";
import { BeginTxnHeaderSchema } from "@millrace/types/gen";
import type { WalMessage } from "../record-batch.ts";
import type { AppendResult, BeginOptions, BeginResult } from "../wal.ts";
import { commits, type WalState } from "../wal-state.ts";
import { checkKey, invalid } from "./check-messages.ts";
import type { Locks } from "./locks.ts";
import { beginTxn, commitTxn, timeTick } from "./message-types.ts";
import type { Pipeline } from "./pipeline.ts";
import { rollbackOf } from "./rollbacks.ts";
import {
  defaultLeaseMs,
  endingAlready,
  expired,
  giveUp,
  maxLeaseMs,
  takeBack,
  type Txn,
  untilEnded,
} from "./transactions.ts";

/** Options of {@linkcode createTxnCalls}. */
export interface TxnCallsOptions {
  pipeline: Pipeline;
  state: WalState;
  locks: Locks;
  /** The lease of one that asks for none, in milliseconds. Default 10 000. */
  leaseMs?: Live<number> | undefined;
  /** The most transactions that may be open. */
  maxOpenTxns: number;
}

/** What callers do with transactions. */
export interface TxnCalls {
  begin(options: BeginOptions): Promise<BeginResult>;
  commit(txn: Tick): Promise<AppendResult>;
  rollback(txn: Tick): Promise<void>;
  /** Rolls back those whose lease has run out by a tick; resolves when they are. */
  expire(tick: Tick): Promise<void>;
}

const noBytes: Uint8Array = new Uint8Array(0);
const tickMessage: WalMessage = {
  type: timeTick,
  vchannel: "",
  header: noBytes,
  payload: noBytes,
};

/** Creates the calls of a log. */
export function createTxnCalls(options: TxnCallsOptions): TxnCalls {
  const { pipeline, state, locks, maxOpenTxns } = options;
  const standardLeaseMs = readLive(options.leaseMs ?? defaultLeaseMs);
  const { txns, keys } = state;
  /** Commits that are on their way or wait for appends. */
  const committing = new Map<Tick, Promise<AppendResult>>();

  async function begin(beginOptions: BeginOptions): Promise<BeginResult> {
    const { vchannel, leaseMs = 0, idempotencyKey: key = "", signal } = beginOptions;
    if (!Number.isInteger(leaseMs) || leaseMs < 0 || leaseMs > maxLeaseMs) {
      throw invalid("lease_ms", `a lease has 1 to ${maxLeaseMs} ms, not ${leaseMs}`);
    }
    if (vchannel === "") throw invalid("vchannel", "a transaction is of one vchannel; name it");
    checkKey(key);
    for (;;) {
      signal?.throwIfAborted();
      const blocker = locks.blocker(vchannel, false);
      if (!blocker) break;
      await blocker;
    }
    const earlier = key === "" ? undefined : pipeline.findKey(vchannel, key);
    if (earlier) return begun(await earlier);
    pipeline.vchannelOf(vchannel);
    if (txns.open.size >= maxOpenTxns) {
      throw new MillraceError(
        "RESOURCE_EXHAUSTED",
        `${txns.open.size} transactions are open, as many as are allowed; end some`,
        { retryAfterMs: 1000 },
      );
    }
    const lease = leaseMs === 0 ? standardLeaseMs() : leaseMs;
    const asked = create(BeginTxnHeaderSchema, { leaseMs: lease });
    const header = toBinary(BeginTxnHeaderSchema, asked);
    const message = { type: beginTxn, vchannel, header, payload: noBytes };
    const release = locks.begin(vchannel);
    try {
      return begun(await pipeline.appendOwn(message, key));
    } finally {
      release();
    }
  }

  async function commit(name: Tick): Promise<AppendResult> {
    const earlier = committing.get(name) ?? pipeline.findKey(commits, String(name));
    if (earlier) return { ...(await earlier), duplicate: true };
    const committed = commitOpen(name);
    committing.set(name, committed);
    try {
      return await committed;
    } finally {
      committing.delete(name);
    }
  }

  async function commitOpen(name: Tick): Promise<AppendResult> {
    for (;;) {
      const txn = txns.open.get(name);
      if (!txn) {
        await makeSure(name);
        throw expired(name);
      }
      if (txn.ending === "rollback") {
        // Only when that is durable it can be said that the transaction never counts.
        await untilEnded(txn);
        continue;
      }
      txn.ending = "commit";
      while (txn.onTheirWay > 0 && isCommitting(txn)) {
        await new Promise<void>((resolve) => txn.whenSettled.push(resolve));
      }
      // Something exclusive may have come in between.
      if (isCommitting(txn)) return writeCommit(txn);
    }
  }

  /** Rejects if a transaction that is not known here may be known to a later owner. */
  async function makeSure(name: Tick): Promise<void> {
    // Begun behind all that is known here. Whether this is the owner still, only a write tells.
    if (name > state.lastTick) await pipeline.appendOwn(tickMessage);
  }

  async function writeCommit(txn: Txn): Promise<AppendResult> {
    const { vchannel } = txn;
    const message: WalMessage = { type: commitTxn, vchannel, header: noBytes, payload: noBytes };
    try {
      return await pipeline.appendOwn(message, "", txn.txn);
    } catch (error) {
      if (isCommitting(txn)) txn.ending = undefined;
      throw error;
    }
  }

  async function rollBack(txn: Txn): Promise<void> {
    giveUp(txn);
    try {
      await pipeline.appendOwn(rollbackOf(txn), "", txn.txn);
    } catch (error) {
      // It is still open: whoever asks next ends it, or its lease does.
      takeBack(txn);
      throw error;
    }
  }

  return {
    begin,
    commit,
    async rollback(name) {
      for (;;) {
        const txn = txns.open.get(name);
        if (txn?.ending === "commit" || (!txn && keys.find(commits, String(name)))) {
          throw endingAlready(name);
        }
        if (!txn) return makeSure(name);
        if (txn.ending === undefined) return rollBack(txn);
        await untilEnded(txn);
      }
    },
    async expire(tick) {
      if (txns.open.size === 0) return;
      await Promise.all(txns.expired(tick).map(rollBack));
    },
  };
}

function begun(result: AppendResult): BeginResult {
  return { ...result, txn: result.firstTick };
}

/** Asked anew: it changes while one waits. */
function isCommitting(txn: Txn): boolean {
  return txn.ending === "commit";
}
