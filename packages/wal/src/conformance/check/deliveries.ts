/**
 * What counts: a fold over the log into appends and committed transactions, and whether the readers of
 * deliveries saw just that.
 *
 * @module
 */

import { comparePositions, type Position, type Tick } from "@millrace/types";
import { beginTxn, commitTxn, isExclusive, rollbackTxn } from "../../append/message-types.ts";
import type { ReadEvent, SeenBatch, SeenDelivery, SeenMessage } from "../history.ts";
import { describeOperation, describePlace, type Facts, type Reader, type Report } from "./facts.ts";
import type { KnownLog } from "./log.ts";

/** Messages that count together. */
interface Expected extends SeenDelivery {
  messages: readonly SeenMessage[];
  /** Of the first batch that has something of it. */
  begin: number;
}

interface OpenTransaction {
  /** Of the batch with its BEGIN_TXN message. */
  begin: number;
  vchannel: string;
  messages: SeenMessage[];
}

/** Folds the log into what counts; reports messages of transactions that are not open. */
export function foldDeliveries(facts: Facts, log: KnownLog, report: Report): Expected[] {
  const expected: Expected[] = [];
  const open = new Map<Tick, OpenTransaction>();
  const firstTick = log.batches.get(log.first)?.firstTick ?? 0n;

  function control(message: SeenMessage, id: Position, tick: Tick): void {
    const { type } = message;
    if (type === beginTxn) {
      open.set(tick, { begin: id.sequence, vchannel: message.vchannel, messages: [] });
      return;
    }
    const txn = open.get(message.txn);
    open.delete(message.txn);
    if (!txn) {
      if (message.txn < firstTick) return;
      const what = type === commitTxn ? "committed" : "rolled back";
      const where = `${what} at ${describePlace(id)}, where it is not open`;
      report("transaction", `transaction ${message.txn} is ${where}`);
    } else if (type === commitTxn) {
      checkCommit(facts, message.txn, id, report);
      const { messages, begin } = txn;
      expected.push({ tick, id, messages, names: namesOf(messages), begin });
    }
  }

  for (let sequence = log.first; sequence < log.next; sequence++) {
    const batch = log.batches.get(sequence);
    if (!batch) continue;
    for (let index = 0; index < batch.messages.length; index++) {
      const message = batch.messages[index] as SeenMessage;
      const { type, name, txn } = message;
      const tick = batch.firstTick + BigInt(index);
      if (isExclusive(type)) checkAlone(open, message, { sequence, index }, report);
      if (type === beginTxn || type === commitTxn || type === rollbackTxn) {
        control(message, { sequence, index }, tick);
      } else if (txn !== 0n) {
        const known = open.get(txn);
        if (known) known.messages.push(message);
        else if (txn >= firstTick) {
          const where = `stands at ${describePlace({ sequence, index })}`;
          report("transaction", `message ${name} of transaction ${txn} ${where}, after its end`);
        }
      } else if (name !== "" && facts.appendOf.get(name)?.names[0] === name) {
        expected.push(appendAt(facts, batch, index));
      }
    }
  }
  return expected;
}

/** What changes a vchannel ends the transactions that are open in it before. */
function checkAlone(
  open: ReadonlyMap<Tick, OpenTransaction>,
  { type, name, vchannel }: SeenMessage,
  id: Position,
  report: Report,
): void {
  for (const [txn, transaction] of open) {
    if (transaction.vchannel !== vchannel && vchannel !== "") continue;
    const what = `message ${name} of type ${type} stands at ${describePlace(id)}`;
    report("transaction", `${what}, where transaction ${txn} of ${vchannel} is open`);
  }
}

function appendAt(facts: Facts, batch: SeenBatch, index: number): Expected {
  const { sequence, firstTick } = batch;
  const names = facts.appendOf.get(batch.messages[index]?.name ?? "")?.names ?? [];
  const members = new Set(names);
  let end = index;
  const messages: SeenMessage[] = [];
  for (let i = index; i < batch.messages.length && messages.length < names.length; i++) {
    const message = batch.messages[i] as SeenMessage;
    if (!members.has(message.name)) continue;
    messages.push(message);
    end = i;
  }
  const tick = firstTick + BigInt(end);
  return { tick, id: { sequence, index }, messages, names: namesOf(messages), begin: sequence };
}

function checkCommit(facts: Facts, txn: Tick, id: Position, report: Report): void {
  const { commits = [], rolledBack } = facts.transactions.get(txn) ?? {};
  const where = `transaction ${txn} is committed at ${describePlace(id)}`;
  if (rolledBack) {
    report("transaction", `${where}, after ${describeOperation(rolledBack)} succeeded`);
  } else if (commits.length === 0) {
    report("invented", `${where}, but nobody asked for that`);
  } else if (commits.every(({ outcome }) => outcome === "failed")) {
    report(
      "failed-but-seen",
      `${where}, but ${commits.map(describeOperation).join(" and ")} failed`,
    );
  }
  for (const operation of commits) {
    const { ack, expired } = operation;
    if (expired) {
      const what = `${describeOperation(operation)} was told that it never is`;
      report("failed-but-seen", `${where}, but ${what}`);
    }
    if (!ack || comparePositions(ack.id, id) === 0) continue;
    const what = `${describeOperation(operation)} was acknowledged at ${describePlace(ack.id)}`;
    report("doubled", `${where}, but ${what}`);
  }
}

function namesOf(messages: readonly SeenMessage[]): string[] {
  const names: string[] = [];
  for (const { name } of messages) if (name !== "") names.push(name);
  return names;
}

/** Checks that each reader of deliveries saw all that counts from its start on, once and in order. */
export function checkDeliveryReaders(facts: Facts, log: KnownLog, report: Report): void {
  const all = foldDeliveries(facts, log, report);
  const filtered = new Map<string | undefined, Expected[]>();
  for (const reader of facts.readers) {
    if (reader.request.view !== "deliveries") continue;
    const { vchannel } = reader.request;
    let expected = filtered.get(vchannel);
    if (!expected) {
      expected = all
        .map((each) => ofVchannel(each, vchannel))
        .filter(({ names }) => names.length > 0);
      filtered.set(vchannel, expected);
    }
    checkDeliveryReader(reader, expected, facts, log, report);
  }
}

function ofVchannel(delivery: Expected, vchannel: string | undefined): Expected {
  if (vchannel === undefined) return delivery;
  const messages = delivery.messages.filter(
    (each) => each.vchannel === vchannel || each.vchannel === "",
  );
  return { ...delivery, messages, names: namesOf(messages) };
}

function checkDeliveryReader(
  reader: Reader,
  expected: readonly Expected[],
  facts: Facts,
  log: KnownLog,
  report: Report,
): void {
  const { reader: name, from } = reader.request;
  const start = typeof from === "object" && "sequence" in from ? from.sequence : 0;
  const after = startTick(reader.request);
  let limit = from === "earliest" ? reader.truncatedTo : start;
  if (typeof from === "object" && "since" in from) limit = from.since;
  // What began before the place where it could begin, it may leave out.
  const due = (delivery: Expected): boolean => delivery.begin >= limit && delivery.tick > after;
  let at = firstAbove(expected, start, after);
  let began = from !== "latest";
  let last: SeenDelivery | undefined;
  for (const seen of reader.deliveries) {
    // Of what no reader of batches saw nothing is known.
    if (seen.names.length === 0 || !log.batches.has(seen.id.sequence)) continue;
    const what = `the delivery at ${describePlace(seen.id)} (${seen.names.join(", ")})`;
    if (last && seen.tick <= last.tick) {
      report("repeated", `${name} saw ${what} at or behind tick ${last.tick}`);
      continue;
    }
    last = seen;
    if (seen.tick <= after) {
      report("repeated", `${name} began after tick ${after}, but saw ${what} of tick ${seen.tick}`);
      continue;
    }
    const found = firstAbove(expected, 0, seen.tick - 1n);
    const match = expected[found];
    if (!match || match.tick !== seen.tick) {
      report("invented", `${name} saw ${what} at tick ${seen.tick}, where nothing counts`);
      continue;
    }
    if (comparePositions(match.id, seen.id) !== 0 || !sameNames(match.names, seen.names)) {
      const really = `${match.names.join(", ")} at ${describePlace(match.id)}`;
      report("torn", `${name} saw ${what}, but what counts there is ${really}`);
    }
    if (!began) {
      reportMissed(reader, missedAtStart(reader, expected[found - 1], facts), report);
      at = found;
      limit = match.begin;
      began = true;
    }
    if (from === "earliest") limit = Math.min(limit, match.begin);
    reportMissed(reader, firstDue(expected, at, found, due), report);
    at = Math.max(at, found + 1);
  }
  if (!reader.complete || !began) return;
  const missed = firstDue(expected, at, expected.length, due);
  if (!missed) return;
  const { precededBy, seenBefore } = reader;
  const ack = precededBy?.ack;
  const what = `the delivery at ${describePlace(missed.id)} (${missed.names.join(", ")})`;
  if (ack && comparePositions(missed.id, ack.id) <= 0) {
    const where = `was there before ${describeOperation(precededBy)} was acknowledged`;
    report("lost", `${what} ${where}; ${name} began after that and saw the end without it`);
  } else if (missed.id.sequence < seenBefore) {
    const where = `stands before batch ${seenBefore}, which others had come to`;
    report("lost", `${what} ${where} when ${name} began, which saw the end without it`);
  }
}

function startTick({ from, afterTick = 0n }: ReadEvent): Tick {
  if (typeof from !== "object" || !("after" in from)) return afterTick;
  return from.after > afterTick ? from.after : afterTick;
}

function firstDue(
  expected: readonly Expected[],
  from: number,
  to: number,
  due: (delivery: Expected) => boolean,
): Expected | undefined {
  for (let i = from; i < to; i++) {
    const delivery = expected[i];
    if (delivery && due(delivery)) return delivery;
  }
  return undefined;
}

/**
 * What stands before the first that a reader from the latest place on saw, if it was asked for after the
 * reader began.
 */
function missedAtStart(
  reader: Reader,
  before: Expected | undefined,
  facts: Facts,
): Expected | undefined {
  // A transaction may have begun before the reader.
  if (before?.messages[0]?.txn !== 0n) return undefined;
  const append = facts.appendOf.get(before.names[0] ?? "");
  const number = append?.attempts[0]?.number ?? -1;
  return number < reader.operationsBefore ? undefined : before;
}

function reportMissed(reader: Reader, missed: Expected | undefined, report: Report): void {
  if (!missed) return;
  const what = `the delivery at ${describePlace(missed.id)} (${missed.names.join(", ")})`;
  report("skipped", `${reader.request.reader} did not see ${what}`);
}

/** The index of the first delivery that stands at or behind a sequence and has a later tick. */
function firstAbove(expected: readonly Expected[], sequence: number, after: Tick): number {
  let low = 0;
  let high = expected.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { id, tick } = expected[middle] as Expected;
    if (id.sequence < sequence || tick <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}
