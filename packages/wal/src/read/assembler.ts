/**
 * Assembler: from batches to what counts. Appends count at once, transactions when they are committed.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";
import { beginTxn, commitTxn, rollbackTxn, timeTick } from "../append/message-types.ts";
import type { Delivery, RecordBatch, StoredMessage } from "../record-batch.ts";

/** Options of {@linkcode createAssembler}. */
export interface AssemblerOptions {
  /** Only messages of this vchannel (or of the empty one). Default: all. */
  vchannel?: string | undefined;
}

/** A fold over the batches of a log. */
export interface Assembler {
  /**
   * Takes the next batch and answers what counts with it, in order. Batches that have no message of
   * the assembler's vchannel may be left out; none may come twice.
   */
  take(batch: RecordBatch): Delivery[];
  /** The sequence where the oldest transaction that is open was begun; `undefined` if none is. */
  oldestOpen(): number | undefined;
  /**
   * Bytes of the messages that wait for a commit, with 256 for each message. What they take is at most
   * twice as much: they are views of their batch where they are half of it or more, else copies.
   */
  heldBytes(): number;
}

/** A transaction that was begun and not yet ended. */
interface OpenTxn {
  /** Of the batch with its BEGIN_TXN message. */
  sequence: number;
  messages: StoredMessage[];
  bytes: number;
}

/** What a message takes besides its bytes, about. */
const messageBytes = 256;

/**
 * Creates an assembler that has taken nothing yet.
 *
 * Each append is a delivery of its own. The messages of a transaction are held until its COMMIT_TXN
 * message, and forgotten at its ROLLBACK_TXN message; one of the two comes, for the log's owner ends
 * what rests too long, and the owner bounds how many bytes may be open. Left out are TIME_TICK messages,
 * those that begin and end transactions, and whatever is of a transaction whose beginning was not
 * taken. So a reader that goes on behind a delivery, from its `resume` and without what has a tick up
 * to its own, gets each delivery once: transactions begun before `resume` had ended by then.
 */
export function createAssembler(options: AssemblerOptions = {}): Assembler {
  const { vchannel } = options;
  // In order of insertion, which is the order of their beginnings.
  const open = new Map<Tick, OpenTxn>();
  let held = 0;

  const oldestOpen = (): number | undefined => {
    for (const { sequence } of open.values()) return sequence;
    return undefined;
  };

  function take(batch: RecordBatch): Delivery[] {
    const { sequence } = batch;
    const deliveries: Delivery[] = [];
    // From a transaction that stays open to how many of its messages are of earlier batches.
    const grown = new Map<OpenTxn, number>();
    let append: StoredMessage[] = [];

    function deliver(id: Position, tick: Tick, messages: readonly StoredMessage[]): void {
      const resume = Math.min(oldestOpen() ?? sequence, sequence);
      deliveries.push({ tick, id, messages, resume });
    }

    function endAppend(): void {
      const [first] = append;
      const last = append.at(-1);
      if (first && last) deliver(first.id, last.tick, append);
      append = [];
    }

    function hold(message: StoredMessage): void {
      const txn = open.get(message.txn);
      if (!txn) return;
      if (!grown.has(txn)) grown.set(txn, txn.messages.length);
      const bytes = message.header.length + message.payload.length + messageBytes;
      txn.messages.push(message);
      txn.bytes += bytes;
      held += bytes;
    }

    function end(name: Tick): OpenTxn | undefined {
      const txn = open.get(name);
      if (!txn) return undefined;
      open.delete(name);
      grown.delete(txn);
      held -= txn.bytes;
      return txn;
    }

    for (const message of batch.messages()) {
      if (message.appendCount > 0) endAppend();
      if (!isOf(message, vchannel)) continue;
      if (message.type === beginTxn) {
        open.set(message.tick, { sequence, messages: [], bytes: 0 });
      } else if (message.type === commitTxn) {
        const txn = end(message.txn);
        if (txn && txn.messages.length > 0) deliver(message.id, message.tick, txn.messages);
      } else if (message.type === rollbackTxn) {
        end(message.txn);
      } else if (message.txn !== 0n) {
        hold(message);
      } else if (message.type !== timeTick) {
        append.push(message);
      }
    }
    endAppend();
    for (const [{ messages }, from] of grown) detach(messages, from, batch);
    return deliveries;
  }

  return { take, oldestOpen, heldBytes: () => held };
}

function isOf(message: StoredMessage, vchannel: string | undefined): boolean {
  return vchannel === undefined || message.vchannel === vchannel || message.vchannel === "";
}

/**
 * Copies messages, from one on, that are the smaller part of what their batch keeps in memory: a view
 * holds all of what it is a view of.
 */
function detach(messages: StoredMessage[], from: number, { bytes }: RecordBatch): void {
  let size = 0;
  for (let index = from; index < messages.length; index++) {
    const message = messages[index];
    if (message) size += message.header.length + message.payload.length;
  }
  if (size * 2 >= bytes.buffer.byteLength) return;
  for (let index = from; index < messages.length; index++) {
    const message = messages[index];
    if (!message) continue;
    const { header, payload } = message;
    messages[index] = { ...message, header: header.slice(), payload: payload.slice() };
  }
}
