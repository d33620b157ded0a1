/**
 * Rolling back what is open.
 *
 * @module
 */

import type { WalMessage } from "../record-batch.ts";
import type { WalState } from "../wal-state.ts";
import type { Companions } from "./companions.ts";
import { rollbackTxn } from "./message-types.ts";
import { giveUp, takeBack, type Txn } from "./transactions.ts";

const noBytes: Uint8Array = new Uint8Array(0);

/**
 * The ROLLBACK_TXN messages that go before something exclusive: of all transactions of its vchannel whose
 * commit is not on its way yet. From now on nothing is appended to them.
 */
export function rollBackOpen(state: WalState, vchannel: string): Companions | undefined {
  const ended: Txn[] = [];
  for (const txn of state.txns.open.values()) {
    if (txn.vchannel !== vchannel && vchannel !== "") continue;
    const waits = txn.ending === "commit" && txn.whenSettled.length > 0;
    if (txn.ending !== undefined && !waits) continue;
    giveUp(txn);
    ended.push(txn);
  }
  if (ended.length === 0) return undefined;
  return {
    appends: ended.map((txn) => ({ messages: [rollbackOf(txn)], txn: txn.txn })),
    committed() {
      for (const { txn } of ended) state.rolledBack(txn);
    },
    failed() {
      for (const txn of ended) takeBack(txn);
    },
  };
}

/** The message that rolls a transaction back. */
export function rollbackOf({ vchannel }: Txn): WalMessage {
  return { type: rollbackTxn, vchannel, header: noBytes, payload: noBytes };
}
