/**
 * What became of each append: whether it stands in the log as it was acknowledged, whole and once.
 *
 * @module
 */

import { comparePositions, type Position } from "@millrace/types";
import { beginTxn, commitTxn } from "../../append/message-types.ts";
import type { AppendEvent, SeenBatch } from "../history.ts";
import {
  type Append,
  describeOperation,
  describePlace,
  type Facts,
  type Operation,
  type Report,
} from "./facts.ts";
import type { KnownLog } from "./log.ts";

/** Checks each append, and each acknowledgement of other messages, against the log. */
export function checkAppends(facts: Facts, log: KnownLog, report: Report): void {
  for (const append of facts.appends) {
    checkAttempts(append, report);
    const place = checkPlace(append, log, report);
    if (place) checkTime(append, place, log, report);
  }
  for (const operation of facts.operations) {
    const { request, ack } = operation;
    if (!ack || (request.kind !== "begin" && request.kind !== "commit")) continue;
    const type = request.kind === "begin" ? beginTxn : commitTxn;
    const batch = log.batches.get(ack.id.sequence);
    if (batch && batch.messages[ack.id.index]?.type !== type) {
      const where = `acknowledged at ${describePlace(ack.id)}, where something else stands`;
      report("lost", `${describeOperation(operation)} was ${where}`);
    } else if (batch) checkTick(operation, ack.id, batch, report);
  }
}

/** All attempts of an append that succeed name one place, and at most one of them wrote it. */
function checkAttempts(append: Append, report: Report): void {
  let writer: Operation | undefined;
  for (const operation of append.attempts) {
    const { ack } = operation;
    if (!ack) continue;
    const first = append.acked?.ack;
    if (first && comparePositions(first.id, ack.id) !== 0) {
      const places = `${describePlace(first.id)} and then at ${describePlace(ack.id)}`;
      report("doubled", `${describeOperation(operation)} was acknowledged at ${places}`);
    }
    const others = append.attempts.filter((other) => other !== operation);
    if (ack.duplicate && others.every(({ outcome }) => outcome === "failed")) {
      report("invented", `${describeOperation(operation)} is called a duplicate of nothing`);
    }
    if (ack.duplicate) continue;
    if (writer) {
      const other = describeOperation(writer);
      report("doubled", `${describeOperation(operation)} was written though ${other} had been`);
    }
    writer = operation;
  }
}

/** Where the append stands; reports if it is lost, torn, or there although it failed. */
function checkPlace(append: Append, log: KnownLog, report: Report): Position | undefined {
  const { names, acked } = append;
  const what = describeOperation(acked ?? (append.attempts[0] as Operation));
  const found = names.filter((name) => log.places.has(name));
  if (found.length === 0) {
    const id = acked?.ack?.id;
    if (id && log.batches.has(id.sequence)) {
      report("lost", `${what} was acknowledged at ${describePlace(id)}, where it is not`);
    }
    return undefined;
  }
  const place = log.places.get(found[0] as string) as Position;
  if (append.attempts.every(({ outcome }) => outcome === "failed")) {
    const where = describePlace(place);
    report("failed-but-seen", `${what} failed without effect, but stands at ${where}`);
  }
  if (found.length < names.length) {
    const missing = names.filter((name) => !log.places.has(name)).join(", ");
    report("torn", `of ${what} only ${found.join(", ")} stand in the log, not ${missing}`);
  } else if (!standsTogether(names, log)) {
    const places = names.map((name) => describePlace(log.places.get(name) as Position));
    report("torn", `the messages of ${what} stand apart, at ${places.join(", ")}`);
  }
  return place;
}

/** In one batch and in order, with nothing between them but what the owner wrote by itself. */
function standsTogether(names: readonly string[], log: KnownLog): boolean {
  let previous: Position | undefined;
  for (const name of names) {
    const place = log.places.get(name) as Position;
    if (previous) {
      if (place.sequence !== previous.sequence || place.index <= previous.index) return false;
      const { messages } = log.batches.get(place.sequence) as SeenBatch;
      const between = messages.slice(previous.index + 1, place.index);
      if (between.some((message) => message.name !== "")) return false;
    }
    previous = place;
  }
  return true;
}

/** Checks an append that stands in the log against its acknowledgement and what preceded it. */
function checkTime(append: Append, place: Position, log: KnownLog, report: Report): void {
  const { acked, attempts } = append;
  const first = attempts[0] as Operation;
  const batch = log.batches.get(place.sequence) as SeenBatch;
  const request = first.request as AppendEvent;
  if (acked?.ack && comparePositions(acked.ack.id, place) !== 0) {
    const places = `${describePlace(acked.ack.id)}, but stands at ${describePlace(place)}`;
    report("lost", `${describeOperation(acked)} was acknowledged at ${places}`);
  } else if (acked) checkTick(acked, place, batch, report);
  const before = first.precededBy?.ack;
  if (before && comparePositions(before.id, place) > 0) {
    const other = describeOperation(first.precededBy as Operation);
    report(
      "order",
      `${describeOperation(first)} stands at ${describePlace(place)}, before ${other}, which was ` +
        `acknowledged at ${describePlace(before.id)} before it began`,
    );
  }
  const tick = batch.firstTick + BigInt(place.index);
  const writer = attempts.length === 1 ? first : attempts.find(({ ack }) => ack && !ack.duplicate);
  const { barrier = 0n } = (writer?.request ?? {}) as Partial<AppendEvent>;
  if (writer && barrier >= tick) {
    report("order", `${describeOperation(writer)} has tick ${tick}, not above barrier ${barrier}`);
  }
  const { txn = 0n } = request;
  for (const name of request.names) {
    const at = log.places.get(name);
    const message = at && log.batches.get(at.sequence)?.messages[at.index];
    if (!message || message.txn === txn) continue;
    const where = `transaction ${message.txn} instead of ${txn}`;
    report("transaction", `message ${name} of ${describeOperation(first)} stands in ${where}`);
  }
}

function checkTick(operation: Operation, place: Position, batch: SeenBatch, report: Report): void {
  const tick = batch.firstTick + BigInt(place.index);
  const { ack, request } = operation;
  if (!ack) return;
  const length = request.kind === "append" ? request.names.length : 1;
  if (ack.firstTick === tick && ack.lastTick >= tick + BigInt(length - 1)) return;
  const ticks = `ticks ${ack.firstTick} to ${ack.lastTick}, but stands at tick ${tick}`;
  report("order", `${describeOperation(operation)} was acknowledged with ${ticks}`);
}
