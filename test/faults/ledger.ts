/**
 * Ledger: what a log was asked to write, what it answered, and whether what it holds agrees.
 *
 * @module
 */

import type { Position } from "@millrace/types";
import type { RecordBatch, StoredMessage } from "@millrace/wal";
import { messageType, type NamedAppend, parseName, payloadOf, sameBytes } from "./content.ts";

/** How many of what a ledger has seen. */
export interface LedgerTotals {
  submitted: number;
  acknowledged: number;
  /** Answers that named what an earlier attempt had written. */
  duplicates: number;
  /** Never acknowledged, but in the log. */
  kept: number;
  /** Committed transactions that were read. */
  transactions: number;
  batches: number;
}

/** Keeps account of one log over all its owners. Every violation is thrown as an error. */
export interface Ledger {
  readonly totals: LedgerTotals;
  /** The sequence behind the last batch that was taken. */
  readonly next: number;
  /** Says that an append is about to be made, for the first time or again. */
  submit(name: string): void;
  /** Says that an append was acknowledged, and where. */
  acknowledge(name: string, place: Position, duplicate: boolean): void;
  /**
   * Takes a batch that a reader was given, from the first that is left on. One that was taken before
   * must be the same as then.
   */
  take(batch: RecordBatch): void;
  /** Says that the reader has reached the end: all that is acknowledged must have been taken. */
  settle(): void;
  /** The names of appends without an answer, by first submission; those are to be made again. */
  unanswered(): string[];
}

interface Entry {
  /** What was answered. */
  answer?: Position;
  /** Where it was read. */
  place?: Position;
}

interface OpenTransaction {
  bodies: StoredMessage[];
}

const type = { begin: 900, commit: 901, rollback: 902 } as const;
const decoder = new TextDecoder();

/** Creates the ledger of a log that is empty. */
export function createLedger(): Ledger {
  const totals: LedgerTotals = {
    submitted: 0,
    acknowledged: 0,
    duplicates: 0,
    kept: 0,
    transactions: 0,
    batches: 0,
  };
  // What is both answered and read is forgotten; `lastNumbers` still tells a second one.
  const entries = new Map<string, Entry>();
  const lastNumbers = new Map<string, number>();
  const checksums: number[] = [];
  const open = new Map<bigint, OpenTransaction>();
  let lastTick = 0n;

  function forgetIfDone(name: string, entry: Entry): void {
    if (!entry.answer || !entry.place) return;
    const { answer, place } = entry;
    if (answer.sequence !== place.sequence || answer.index !== place.index) {
      throw new Error(
        `moved: ${name} was acknowledged at ${show(answer)} and is at ${show(place)}`,
      );
    }
    entries.delete(name);
  }

  /** Something that counts at once: an append, or a transaction at its commit. */
  function count(name: string, place: Position): void {
    const { group, number } = parseName(name);
    const last = lastNumbers.get(group) ?? -1;
    if (number <= last) throw new Error(`doubled: ${name} is at ${show(place)} once more`);
    if (number > last + 1) {
      throw new Error(`lost or out of order: ${name} is at ${show(place)} right after ${last}`);
    }
    const entry = entries.get(name);
    if (!entry) throw new Error(`foreign: ${name} is at ${show(place)} but was never submitted`);
    lastNumbers.set(group, number);
    entry.place = place;
    if (!entry.answer) totals.kept++;
    forgetIfDone(name, entry);
  }

  function takeAppend(messages: readonly StoredMessage[]): void {
    const [first] = messages;
    if (!first) return;
    switch (first.type) {
      case messageType:
        if (first.txn !== 0n) bodiesOf(first).push(...messages);
        else {
          const name = decoder.decode(first.header);
          checkParts(parseName(name), messages);
          count(name, first.id);
        }
        break;
      case type.begin:
        open.set(first.tick, { bodies: [] });
        break;
      case type.rollback:
        open.delete(first.txn);
        break;
      case type.commit: {
        const bodies = bodiesOf(first);
        open.delete(first.txn);
        const name = decoder.decode(bodies[0]?.header);
        checkParts(parseName(name), bodies);
        count(name, first.id);
        totals.transactions++;
      }
    }
  }

  function bodiesOf({ txn, id }: StoredMessage): StoredMessage[] {
    const transaction = open.get(txn);
    if (!transaction) throw new Error(`transaction ${txn} at ${show(id)} is not open`);
    return transaction.bodies;
  }

  return {
    totals,
    get next() {
      return checksums.length;
    },
    submit(name) {
      if (entries.has(name)) return;
      totals.submitted++;
      entries.set(name, {});
    },
    acknowledge(name, answer, duplicate) {
      totals.acknowledged++;
      if (duplicate) totals.duplicates++;
      const entry = entries.get(name);
      if (!entry) throw new Error(`${name} was acknowledged twice, or never submitted`);
      entry.answer = answer;
      forgetIfDone(name, entry);
    },
    take(batch) {
      const { sequence, checksum, previousChecksum } = batch;
      if (sequence < checksums.length) {
        if (checksums[sequence] === checksum) return;
        throw new Error(`changed: batch ${sequence} is not what was read before`);
      }
      if (sequence > checksums.length) {
        throw new Error(`lost: batch ${checksums.length} is missing before batch ${sequence}`);
      }
      if (previousChecksum !== (checksums.at(-1) ?? 0)) {
        throw new Error(`batch ${sequence} does not continue the one before it`);
      }
      if (batch.firstTick <= lastTick) throw new Error(`batch ${sequence} goes back in ticks`);
      lastTick = batch.lastTick;
      checksums.push(checksum);
      totals.batches++;
      let append: StoredMessage[] = [];
      for (const message of batch.messages()) {
        if (message.appendCount > 0) {
          takeAppend(append);
          append = [];
        }
        append.push(message);
      }
      takeAppend(append);
    },
    settle() {
      for (const [name, { answer, place }] of entries) {
        if (answer && !place) {
          throw new Error(`lost: ${name} was acknowledged at ${show(answer)} and is not there`);
        }
      }
    },
    unanswered() {
      return [...entries].filter(([, { answer }]) => !answer).map(([name]) => name);
    },
  };
}

function checkParts({ name, parts, size }: NamedAppend, messages: readonly StoredMessage[]): void {
  if (messages.length !== parts) {
    throw new Error(`torn: ${name} has ${messages.length} of ${parts} messages`);
  }
  for (const [part, { payload, id }] of messages.entries()) {
    if (!sameBytes(payload, payloadOf(name, part, size))) {
      throw new Error(`changed: part ${part} of ${name} at ${show(id)} has other bytes`);
    }
  }
}

function show({ sequence, index }: Position): string {
  return `${sequence}.${index}`;
}
