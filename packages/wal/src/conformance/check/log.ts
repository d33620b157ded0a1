/**
 * The log as its readers saw it, and whether each saw it whole and in order.
 *
 * @module
 */

import type { Position } from "@millrace/types";
import type { SeenBatch } from "../history.ts";
import { describeOperation, type Facts, type Reader, type Report } from "./facts.ts";

/** What is known of a log from all who read batches. */
export interface KnownLog {
  batches: Map<number, SeenBatch>;
  /** Of the first batch that is known, or 0. */
  first: number;
  /** The sequence behind the last batch that is known. */
  next: number;
  /** Where each message stands. */
  places: Map<string, Position>;
}

/** Puts together what the readers of batches saw; reports where it does not fit together. */
export function gatherLog(facts: Facts, report: Report): KnownLog {
  const batches = new Map<number, SeenBatch>();
  const seenBy = new Map<number, string>();
  let first = Number.POSITIVE_INFINITY;
  let next = 0;
  for (const { request, batches: seen } of facts.readers) {
    for (const batch of seen) {
      const { sequence } = batch;
      const known = batches.get(sequence);
      if (!known) {
        batches.set(sequence, batch);
        seenBy.set(sequence, request.reader);
        first = Math.min(first, sequence);
        next = Math.max(next, sequence + 1);
      } else if (!sameBatch(known, batch)) {
        report(
          "diverged",
          `batch ${sequence} was ${describeBatch(known)} to ${seenBy.get(sequence)}, but ` +
            `${describeBatch(batch)} to ${request.reader}`,
        );
      }
    }
  }
  const log: KnownLog = { batches, first: next === 0 ? 0 : first, next, places: new Map() };
  checkOrder(log, facts, report);
  findPlaces(log, facts, report);
  return log;
}

function sameBatch(a: SeenBatch, b: SeenBatch): boolean {
  if (a === b) return true;
  if (a.term !== b.term || a.firstTick !== b.firstTick) return false;
  return (
    a.messages.length === b.messages.length &&
    a.messages.every((message, i) => {
      const other = b.messages[i];
      return (
        message.name === other?.name && message.type === other.type && message.txn === other.txn
      );
    })
  );
}

function describeBatch({ term, messages }: SeenBatch): string {
  const names = messages.map(({ name, type }) => name || `type ${type}`);
  return `one of term ${term} (${names.join(", ")})`;
}

/** Ticks and terms grow, and each term is between the places where it and the next were opened. */
function checkOrder(log: KnownLog, facts: Facts, report: Report): void {
  const limits = new Map<number, number>();
  const limitOf = (term: number): number => {
    let limit = limits.get(term);
    if (limit === undefined) {
      const later = facts.owners.filter((owner) => owner.term > term);
      limit = Math.min(...later.map(({ next }) => next ?? Number.POSITIVE_INFINITY));
      limits.set(term, limit);
    }
    return limit;
  };
  const starts = new Map(facts.owners.map(({ term, next }) => [term, next ?? 0]));

  let previous: SeenBatch | undefined;
  for (let sequence = log.first; sequence < log.next; sequence++) {
    const batch = log.batches.get(sequence);
    if (!batch) continue;
    const { term } = batch;
    if (sequence >= limitOf(term)) {
      const where = `though a later term was opened at ${limitOf(term)}`;
      report("fence", `batch ${sequence} is of term ${term}, ${where}`);
    }
    if (sequence < (starts.get(term) ?? 0)) {
      const where = `though that term was opened at ${starts.get(term)}`;
      report("order", `batch ${sequence} is of term ${term}, ${where}`);
    }
    if (previous && term < previous.term) {
      const before = `batch ${previous.sequence} of term ${previous.term}`;
      report("order", `batch ${sequence} of term ${term} stands behind ${before}`);
    }
    if (previous) {
      const last = previous.firstTick + BigInt(previous.messages.length - 1);
      if (batch.firstTick <= last) {
        const before = `batch ${previous.sequence} ends with ${last}`;
        report("order", `batch ${sequence} begins with tick ${batch.firstTick}, but ${before}`);
      }
    }
    previous = batch;
  }
  for (const operation of facts.operations) {
    const { ack, request } = operation;
    if (!ack || ack.duplicate || ack.id.sequence < limitOf(request.term)) continue;
    const where = `though a later term was opened at ${limitOf(request.term)}`;
    const what = `${describeOperation(operation)} was acknowledged at batch ${ack.id.sequence}`;
    report("fence", `${what}, ${where}`);
  }
}

function findPlaces(log: KnownLog, facts: Facts, report: Report): void {
  for (let sequence = log.first; sequence < log.next; sequence++) {
    const batch = log.batches.get(sequence);
    if (!batch) continue;
    for (let index = 0; index < batch.messages.length; index++) {
      const { name } = batch.messages[index] ?? {};
      if (!name) continue;
      const other = log.places.get(name);
      if (other) {
        const places = `${other.sequence}.${other.index} and at ${sequence}.${index}`;
        report("doubled", `message ${name} stands at ${places}`);
      } else log.places.set(name, { sequence, index });
      if (!facts.appendOf.has(name)) {
        report("invented", `message ${name} stands at ${sequence}.${index}, but nobody wrote it`);
      }
    }
  }
}

/** Checks that each reader of batches saw all of them from its start on, once and in order. */
export function checkBatchReaders(facts: Facts, log: KnownLog, report: Report): void {
  for (const reader of facts.readers) {
    if (reader.request.view === "batches") checkBatchReader(reader, facts, log, report);
  }
}

function checkBatchReader(reader: Reader, facts: Facts, log: KnownLog, report: Report): void {
  const { reader: name, from } = reader.request;
  const matters = (sequence: number): boolean => {
    const { vchannel } = reader.request;
    if (vchannel === undefined) return true;
    const batch = log.batches.get(sequence);
    return !!batch?.messages.some((each) => each.vchannel === vchannel || each.vchannel === "");
  };
  const start = typeof from === "object" && "sequence" in from ? from.sequence : undefined;
  let next = start;
  for (const { sequence } of reader.batches) {
    if (next === undefined) checkStart(reader, sequence, facts, log, report);
    else if (sequence < next) {
      report("repeated", `${name} saw batch ${sequence} when ${next} was to come`);
    }
    for (let missed = next ?? sequence; missed < sequence; missed++) {
      if (!matters(missed)) continue;
      report("skipped", `${name} saw batch ${sequence} when ${missed} was to come`);
      break;
    }
    next = sequence + 1;
  }
  if (!reader.complete || from === "latest") return;
  const firstMissed = (end: number): number | undefined => {
    // The last batch is never truncated, but it may be one that does not matter to this reader.
    const start = next ?? (reader.request.vchannel === undefined ? end : reader.truncatedTo);
    for (let missed = start; missed <= end; missed++) if (matters(missed)) return missed;
    return undefined;
  };
  const { precededBy, seenBefore } = reader;
  const last = precededBy?.ack?.id.sequence;
  const lost = last === undefined ? undefined : firstMissed(last);
  if (precededBy && lost !== undefined) {
    const where = `acknowledged at batch ${last} before ${name} began`;
    const what = `${describeOperation(precededBy)} was ${where}`;
    report("lost", `${what}, which saw the log end at batch ${lost}`);
  } else if (seenBefore > 0 && firstMissed(seenBefore - 1) !== undefined) {
    const where = `others had come to batch ${seenBefore} when ${name} began`;
    report("lost", `${where}, which saw the log end at batch ${firstMissed(seenBefore - 1)}`);
  }
}

/** A reader that named no sequence began at a place of the log's choice. */
function checkStart(
  reader: Reader,
  sequence: number,
  facts: Facts,
  log: KnownLog,
  report: Report,
): void {
  const { reader: name, from, vchannel } = reader.request;
  if (vchannel !== undefined) return;
  if (from === "earliest" && sequence > reader.truncatedTo) {
    const where = `saw batch ${sequence} first, but only ${reader.truncatedTo} were to be forgotten`;
    report("truncation", `${name} ${where}`);
  }
  if (from !== "latest") return;
  for (const message of log.batches.get(sequence - 1)?.messages ?? []) {
    const missed = facts.appendOf.get(message.name)?.attempts[0];
    if (!missed || missed.number < reader.operationsBefore) continue;
    const where = `which began before that and saw batch ${sequence} first`;
    report("skipped", `${describeOperation(missed)} was missed by ${name}, ${where}`);
    break;
  }
}
