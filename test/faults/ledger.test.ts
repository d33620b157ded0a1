import { type BatchAppend, encodeBatch, type RecordBatch, type WalMessage } from "@millrace/wal";
import { expect, test } from "vitest";
import { messagesOf, nameOf } from "./content.ts";
import { createLedger, type Ledger } from "./ledger.ts";

const names = [0, 1, 2, 3].map((number) => nameOf("g", number, 1 + (number % 2), 10 * number));

/** Batches of one append each, chained. */
function batchesOf(appends: readonly string[]): RecordBatch[] {
  return chain(appends.map((name) => ({ messages: messagesOf(name), idempotencyKey: name })));
}

function chain(appends: readonly BatchAppend[]): RecordBatch[] {
  const batches: RecordBatch[] = [];
  for (const [sequence, append] of appends.entries()) {
    const previous = batches.at(-1);
    batches.push(
      encodeBatch({
        term: 1,
        sequence,
        firstTick: (previous?.lastTick ?? 0n) + 1n,
        previousChecksum: previous?.checksum ?? 0,
        appends: [append],
      }),
    );
  }
  return batches;
}

/** A ledger to which all names were submitted, and acknowledged as they were written. */
function acknowledged(appends: readonly string[] = names): Ledger {
  const ledger = createLedger();
  for (const [sequence, name] of appends.entries()) {
    ledger.submit(name);
    ledger.acknowledge(name, { sequence, index: 0 }, false);
  }
  return ledger;
}

function read(ledger: Ledger, batches: readonly RecordBatch[]): void {
  for (const batch of batches) ledger.take(batch);
  ledger.settle((batches.at(-1)?.sequence ?? -1) + 1);
}

test("a log that holds what was acknowledged is in order, however often it is read", () => {
  const ledger = acknowledged();
  read(ledger, batchesOf(names));
  read(ledger, batchesOf(names));
  read(ledger, batchesOf(names).slice(2));
  expect(ledger.unanswered()).toEqual([]);
});

test("an append without an answer may be there or not", () => {
  const [a = "", b = ""] = names;
  for (const written of [[a], [a, b]]) {
    const ledger = createLedger();
    ledger.submit(a);
    ledger.acknowledge(a, { sequence: 0, index: 0 }, false);
    ledger.submit(b);
    read(ledger, batchesOf(written));
    expect(ledger.unanswered()).toEqual([b]);
  }
});

const [a = "", b = "", c = ""] = names;
const planted: [string, RecordBatch[], RegExp][] = [
  ["the last append is lost", batchesOf(names.slice(0, -1)), /^lost: g\/3/],
  ["all are lost", [], /^lost: g\/0/],
  ["one in the middle is lost", batchesOf([a, c]), /^lost or out of order: g\/2/],
  ["two are in another order", batchesOf([b, a, c]), /^lost or out of order: g\/1/],
  ["one is there twice", batchesOf([a, b, b]), /^doubled: g\/1/],
  ["one was never asked for", batchesOf([...names, nameOf("x", 0, 1, 1)]), /^foreign: x\/0/],
  ["a batch is missing", batchesOf(names).slice(1), /^lost: batch 0 is missing before batch 1/],
  [
    "a batch belongs to another history",
    [...batchesOf([a]), ...batchesOf([b, a]).slice(1)],
    /cont/,
  ],
  ["an append has too few messages", chain([{ messages: messagesOf(b).slice(1) }]), /^torn: g\/1/],
];

for (const [fault, batches, message] of planted) {
  test(`it is noticed when ${fault}`, () => {
    expect(() => read(acknowledged(), batches)).toThrow(message);
  });
}

test("it is noticed when bytes are other than those written", () => {
  const [message] = messagesOf(c);
  const payload =
    message?.payload.map((byte, i) => (i === 7 ? byte ^ 1 : byte)) ?? new Uint8Array();
  const batches = chain([{ messages: [{ ...(message as WalMessage), payload }] }]);
  expect(() => read(acknowledged([nameOf("g", 0, 1, 1), c]), batches)).toThrow(/^changed: part 0/);
});

test("it is noticed when what was read before has changed or moved", () => {
  const ledger = acknowledged();
  read(ledger, batchesOf(names));
  expect(() => ledger.take(batchesOf([b])[0] as RecordBatch)).toThrow(/^changed: batch 0/);
  expect(() => read(ledger, batchesOf(names.slice(0, 2)))).toThrow(
    /^lost: the log ends at batch 2/,
  );
  const moved = createLedger();
  moved.submit(a);
  moved.acknowledge(a, { sequence: 1, index: 0 }, false);
  expect(() => read(moved, batchesOf([a]))).toThrow(/^moved: g\/0/);
});

test("it is noticed when a retry answers another place than the one that is read", () => {
  const ledger = createLedger();
  ledger.submit(a);
  read(ledger, batchesOf([a]));
  ledger.submit(a);
  expect(() => ledger.acknowledge(a, { sequence: 1, index: 0 }, true)).toThrow(/^moved: g\/0/);
});
