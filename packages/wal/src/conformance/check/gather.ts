/**
 * From events to facts: a walk over a history in the order of time.
 *
 * @module
 */

import { comparePositions, type Tick } from "@millrace/types";
import type {
  AcknowledgedEvent,
  AppendEvent,
  FailedEvent,
  HistoryEvent,
  OpenedEvent,
  OperationId,
  ReadEvent,
} from "../history.ts";
import {
  describeOperation,
  describePlace,
  type Facts,
  type Operation,
  type Reader,
  type Report,
  type Transaction,
} from "./facts.ts";

/** Puts a history together, and reports what is wrong with the order of its events by itself. */
export function gatherFacts(
  history: readonly HistoryEvent[],
  ordered: boolean,
  report: Report,
): Facts {
  const facts: Facts = {
    operations: [],
    appends: [],
    appendOf: new Map(),
    transactions: new Map(),
    readers: [],
    owners: [],
    truncatedTo: 0,
  };
  const asked = gatherOperations(facts, ordered, report);
  const read = gatherReaders(facts, asked.preceding, report);
  for (const event of history) {
    if ("reader" in event) read(event);
    else asked.take(event);
  }
  return facts;
}

type ReaderSideEvent = Extract<HistoryEvent, { reader: string }>;
type OwnerSideEvent = Exclude<HistoryEvent, ReaderSideEvent>;

/** Takes what owners were asked for and answered. */
function gatherOperations(
  facts: Facts,
  ordered: boolean,
  report: Report,
): { take(event: OwnerSideEvent): void; preceding(): Operation | undefined } {
  const operations = new Map<OperationId, Operation>();
  /** By term, the operation that was acknowledged last. */
  const lastAcks = new Map<number, Operation>();
  /** By term, the highest one that was open when its opening began. */
  const openBefore = new Map<number, number>();
  let preceding: Operation | undefined;
  let highestOpen = 0;

  function add(request: Operation["request"]): Operation {
    if (operations.has(request.op)) throw new Error(`operation ${request.op} is there twice`);
    const operation: Operation = {
      request,
      number: facts.operations.length,
      outcome: "unknown",
      expired: false,
      precededBy: preceding,
      fencedBy: highestOpen > request.term ? highestOpen : undefined,
    };
    operations.set(request.op, operation);
    facts.operations.push(operation);
    return operation;
  }

  function find(op: OperationId): Operation {
    const operation = operations.get(op);
    if (!operation) throw new Error(`operation ${op} has an outcome, but was never asked for`);
    return operation;
  }

  function addAppend(event: AppendEvent): void {
    const operation = add(event);
    let append = facts.appendOf.get(event.names[0] ?? "");
    if (!append) {
      append = { names: event.names, attempts: [], acked: undefined };
      facts.appends.push(append);
    } else if (!event.key) {
      throw new Error(`${describeOperation(operation)} is a second attempt without a key`);
    }
    for (const name of event.names) facts.appendOf.set(name, append);
    append.attempts.push(operation);
  }

  function acknowledge(event: AcknowledgedEvent): void {
    const operation = find(event.op);
    operation.outcome = "acknowledged";
    operation.ack = event;
    const { request, fencedBy } = operation;
    if (request.kind === "append") {
      const append = facts.appendOf.get(request.names[0] ?? "");
      if (append) append.acked ??= operation;
    }
    if (!preceding?.ack || comparePositions(preceding.ack.id, event.id) < 0) preceding = operation;
    if (event.duplicate) return;
    if (fencedBy !== undefined) {
      const what = describeOperation(operation);
      report("fence", `${what} was acknowledged, though term ${fencedBy} was open when it began`);
    }
    if (!ordered) return;
    const last = lastAcks.get(request.term);
    if (last?.ack && comparePositions(last.ack.id, event.id) > 0) {
      const what = `${describeOperation(operation)} at ${describePlace(event.id)}`;
      const other = `${describeOperation(last)} at ${describePlace(last.ack.id)}`;
      report("order", `${what} was acknowledged after ${other}`);
    } else lastAcks.set(request.term, operation);
  }

  function opened({ term, next }: OpenedEvent): void {
    const before = openBefore.get(term) ?? 0;
    if (before >= term) report("fence", `term ${term} was opened after term ${before}`);
    highestOpen = Math.max(highestOpen, term);
    facts.owners.push({ term, next });
  }

  function fail({ op, code }: FailedEvent): void {
    const operation = find(op);
    operation.outcome = "failed";
    operation.expired = code === "TRANSACTION_EXPIRED";
  }

  function settle(op: OperationId): void {
    const operation = find(op);
    operation.outcome = "acknowledged";
    if (operation.request.kind !== "rollback") return;
    const transaction = transactionOf(facts, operation.request.txn);
    if (transaction.commits.length === 0) transaction.rolledBack ??= operation;
  }

  function take(event: OwnerSideEvent): void {
    switch (event.kind) {
      case "open":
        openBefore.set(event.term, highestOpen);
        break;
      case "opened":
        opened(event);
        break;
      case "append":
        addAppend(event);
        break;
      case "begin":
      case "rollback":
        add(event);
        break;
      case "commit":
        transactionOf(facts, event.txn).commits.push(add(event));
        break;
      case "acknowledged":
        acknowledge(event);
        break;
      case "settled":
        settle(event.op);
        break;
      case "failed":
        fail(event);
        break;
      case "truncate":
        facts.truncatedTo = Math.max(facts.truncatedTo, event.before);
        break;
    }
  }

  return { take, preceding: () => preceding };
}

/** Takes what readers saw. */
function gatherReaders(
  facts: Facts,
  preceding: () => Operation | undefined,
  report: Report,
): (event: ReaderSideEvent) => void {
  const readers = new Map<string, Reader>();
  let seen = 0;

  function begin(request: ReadEvent): void {
    if (readers.has(request.reader)) throw new Error(`reader ${request.reader} is there twice`);
    const reader: Reader = {
      request,
      batches: [],
      deliveries: [],
      complete: false,
      precededBy: preceding(),
      seenBefore: seen,
      operationsBefore: facts.operations.length,
      truncatedTo: facts.truncatedTo,
    };
    readers.set(request.reader, reader);
    facts.readers.push(reader);
  }

  return (event) => {
    if (event.kind === "read") {
      begin(event);
      return;
    }
    const reader = readers.get(event.reader);
    if (!reader) throw new Error(`reader ${event.reader} saw something, but never began`);
    reader.truncatedTo = facts.truncatedTo;
    if (event.kind === "batch") {
      reader.batches.push(event.batch);
      seen = Math.max(seen, event.batch.sequence + 1);
    } else if (event.kind === "delivery") {
      reader.deliveries.push(event.delivery);
      seen = Math.max(seen, event.delivery.id.sequence + 1);
    } else if (event.kind === "complete") {
      reader.complete = true;
    } else if (event.first > reader.truncatedTo) {
      const where = `at ${event.first}; it may begin at ${reader.truncatedTo} at most`;
      report("truncation", `${event.reader} was told that the log begins ${where}`);
    }
  };
}

function transactionOf(facts: Facts, txn: Tick): Transaction {
  let transaction = facts.transactions.get(txn);
  if (!transaction) {
    transaction = { commits: [], rolledBack: undefined };
    facts.transactions.set(txn, transaction);
  }
  return transaction;
}
