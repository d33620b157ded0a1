/**
 * Making the append that a name describes: at once, or as a transaction.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { AppendResult, Wal } from "@millrace/wal";
import { messagesOf, parseName } from "./content.ts";

const vchannel = "v";

/** Whether appends of a group are transactions: `t1`, `7.t1`. */
export function isTransactional(group: string): boolean {
  return /(^|\.)t\d+$/.test(group);
}

/**
 * Makes an append, for the first time or again: the name is its idempotency key. Answers where it
 * counts.
 */
export function writeNamed(wal: Wal, name: string): Promise<AppendResult> {
  if (isTransactional(parseName(name).group)) return transact(wal, name);
  return wal.append(messagesOf(name, vchannel), { idempotencyKey: name });
}

async function transact(wal: Wal, name: string): Promise<AppendResult> {
  for (;;) {
    const { txn, duplicate } = await wal.begin({ vchannel, idempotencyKey: name });
    try {
      await Promise.all(
        messagesOf(name, vchannel).map((message, part) =>
          wal.append([message], { txn, idempotencyKey: String(part) }),
        ),
      );
      return await wal.commit(txn);
    } catch (error) {
      if (!MillraceError.is(error, "TRANSACTION_EXPIRED") || !duplicate) throw error;
    }
    try {
      // An earlier attempt may have come as far as that.
      return await wal.commit(txn);
    } catch (error) {
      if (!MillraceError.is(error, "TRANSACTION_EXPIRED")) throw error;
    }
  }
}

/** Appends something to a transaction that is then rolled back: nobody may ever see it. */
export async function writeAndRollBack(wal: Wal, name: string): Promise<void> {
  const { txn } = await wal.begin({ vchannel });
  await wal.append(messagesOf(name, vchannel), { txn });
  await wal.rollback(txn);
}
