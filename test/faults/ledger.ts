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
  /** Says that an append that was submitted once was refused, and has had no effect. */
  withdraw(name: string): void;
  /**
   * Takes a batch that a reader was given, from the first that is left on. One that was taken before
   * must be the same as then.
   */
  take(batch: RecordBatch): void;
  /**
   * Says that the reader has reached the end, which is before sequence `end`: all that is acknowledged,
   * and all that was read before, must be there.
   */
  settle(end: number): void;
  /** The names of appends without an answer, by first submission; those are to be made again. */
  unanswered(): string[];
  /** The number of the next append of a group that was not yet submitted. */
  nextNumber(group: string): number;
  /** A ledger of its own with the same in it. */
  fork(): Ledger;
}

interface Entry {
  /** What was answered. */
  answer?: Position;
  /** Where it was read. */
  place?: Position;
}

const type = { begin: 900, commit: 901, rollback: 902 } as const;
const decoder = new TextDecoder();

interface State {
  totals: LedgerTotals;
  /** What is both answered and read is forgotten; `lastNumbers` still tells a second one. */
  entries: Map<string, Entry>;
  /** The number of the last append of each group that was submitted. */
  submitted: Map<string, number>;
  /** The same of those that were read. */
  lastNumbers: Map<string, number>;
  /** By sequence. */
  checksums: number[];
  /** Transactions that are open, by the tick of their first message, with their messages so far. */
  open: Map<bigint, readonly StoredMessage[]>;
  lastTick: bigint;
}

/** Creates the ledger of a log that is empty. */
export function createLedger(): Ledger {
  const totals = {
    submitted: 0,
    acknowledged: 0,
    duplicates: 0,
    kept: 0,
    transactions: 0,
    batches: 0,
  };
  return createLedgerOf({
    totals,
    entries: new Map(),
    submitted: new Map(),
    lastNumbers: new Map(),
    checksums: [],
    open: new Map(),
    lastTick: 0n,
  });
}

function createLedgerOf(state: State): Ledger {
  const { totals, entries, submitted, lastNumbers, checksums, open } = state;

  function update(name: string, entry: Entry): void {
    const { answer, place } = entry;
    entries.set(name, entry);
    if (!answer || !place) return;
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
    if (!entry.answer) totals.kept++;
    update(name, { ...entry, place });
  }

  function takeAppend(messages: readonly StoredMessage[]): void {
    const [first] = messages;
    if (!first) return;
    switch (first.type) {
      case messageType:
        if (first.txn !== 0n) open.set(first.txn, [...bodiesOf(first), ...messages]);
        else {
          const name = decoder.decode(first.header);
          checkParts(parseName(name), messages);
          count(name, first.id);
        }
        break;
      case type.begin:
        open.set(first.tick, []);
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

  function bodiesOf({ txn, id }: StoredMessage): readonly StoredMessage[] {
    const bodies = open.get(txn);
    if (!bodies) throw new Error(`transaction ${txn} at ${show(id)} is not open`);
    return bodies;
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
      const { group, number } = parseName(name);
      submitted.set(group, number);
    },
    acknowledge(name, answer, duplicate) {
      totals.acknowledged++;
      if (duplicate) totals.duplicates++;
      const entry = entries.get(name);
      if (!entry) throw new Error(`${name} was acknowledged twice, or never submitted`);
      update(name, { ...entry, answer });
    },
    withdraw(name) {
      const place = entries.get(name)?.place;
      if (place)
        throw new Error(`foreign: ${name} was refused without effect, but is at ${show(place)}`);
      entries.delete(name);
      const { group, number } = parseName(name);
      submitted.set(group, number - 1);
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
      if (batch.firstTick <= state.lastTick) {
        throw new Error(`batch ${sequence} goes back in ticks`);
      }
      state.lastTick = batch.lastTick;
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
    settle(end) {
      if (end < checksums.length) {
        throw new Error(`lost: the log ends at batch ${end}, ${checksums.length} were read before`);
      }
      for (const [name, { answer, place }] of entries) {
        if (answer && !place) {
          throw new Error(`lost: ${name} was acknowledged at ${show(answer)} and is not there`);
        }
      }
    },
    unanswered() {
      return [...entries].filter(([, { answer }]) => !answer).map(([name]) => name);
    },
    nextNumber: (group) => (submitted.get(group) ?? -1) + 1,
    fork: () =>
      createLedgerOf({
        totals: { ...totals },
        entries: new Map(entries),
        submitted: new Map(submitted),
        lastNumbers: new Map(lastNumbers),
        checksums: [...checksums],
        open: new Map(open),
        lastTick: state.lastTick,
      }),
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
