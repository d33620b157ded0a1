import { checkHistory, type SeenBatch } from "@millrace/wal/conformance";
import { expect, test } from "vitest";
import { historiesOf, type ReadLog } from "./history.ts";
import type { Recorded } from "./record.ts";

const one = "p-dml_0_1v0";
const two = "p-dml_1_1v1";
const insertType = 2;

/** A log with a batch of one message for each name, in order; ticks are 10, 20 and so on. */
function logOf(vchannel: string, names: readonly string[]): ReadLog {
  const batches: SeenBatch[] = names.map((name, sequence) => ({
    sequence,
    term: 1,
    firstTick: BigInt(10 * (sequence + 1)),
    messages: [{ name, type: insertType, vchannel, txn: 0n }],
  }));
  const places = new Map(
    batches.map(({ sequence, firstTick, term }, at) => [
      names[at] as string,
      { id: { sequence, index: 0 }, tick: firstTick, term },
    ]),
  );
  return { batches, places };
}

/** What the checker says of both logs, by kind. */
function judged(
  events: readonly Recorded[],
  inOne: readonly string[],
  inTwo: readonly string[] = [],
): string[] {
  const logs = new Map([
    ["p-dml_0", logOf(one, inOne)],
    ["p-dml_1", logOf(two, inTwo)],
  ]);
  const histories = [...historiesOf(events, logs).values()];
  return histories
    .flatMap((each) => checkHistory(each, { ordered: false }))
    .map(({ kind }) => kind);
}

const insert = (op: number, name: string, key = `${op}`): Recorded => ({
  ...{ kind: "insert", op, key },
  parts: [{ vchannel: one, name }],
});

const inserted = (op: number, tick: bigint, duplicate = false): Recorded => ({
  ...{ kind: "inserted", op, tick, duplicate },
});

test("what is in the log where it was acknowledged is well", () => {
  expect(judged([insert(0, "a"), inserted(0, 10n), insert(1, "b")], ["a", "b"])).toEqual([]);
});

test("an acknowledged insert that is not in the log is lost", () => {
  expect(judged([insert(0, "a"), inserted(0, 10n), insert(1, "b")], ["b"])).toContain("lost");
});

test("an insert that is acknowledged at another's place is noticed", () => {
  const events = [insert(0, "a"), insert(1, "b"), inserted(0, 10n), inserted(1, 10n)];
  expect(judged(events, ["a", "b"])).toContain("lost");
});

test("an insert that failed without effect and is in the log is noticed", () => {
  expect(judged([insert(0, "a"), { kind: "failed", op: 0 }], ["a"])).toEqual(["failed-but-seen"]);
});

test("an insert that stands before what was acknowledged before it began is noticed", () => {
  const events = [insert(0, "a"), inserted(0, 20n), insert(1, "b"), inserted(1, 10n)];
  expect(judged(events, ["b", "a"])).toContain("order");
});

test("rows that nobody inserted are noticed", () => {
  expect(judged([insert(0, "a"), inserted(0, 10n)], ["a", "b"])).toEqual(["invented"]);
});

test("a tail that misses an insert is noticed", () => {
  const read = (event: Extract<Recorded, { kind: "read" }>["event"]): Recorded => ({
    ...{ kind: "read", pchannel: "p-dml_0", event },
  });
  const delivery = { tick: 20n, id: { sequence: 1, index: 0 }, names: ["b"] };
  const events = [
    ...[insert(0, "a"), inserted(0, 10n), insert(1, "b"), inserted(1, 20n)],
    read({ kind: "read", reader: "r", view: "deliveries", from: "earliest", vchannel: one }),
    read({ kind: "delivery", reader: "r", delivery }),
  ];
  expect(judged(events, ["a", "b"])).toEqual(["skipped"]);
});

test("of an insert into two logs the tick is that of either, and what is missing is lost", () => {
  const parts = [
    { vchannel: one, name: "a" },
    { vchannel: two, name: "b" },
  ];
  const both: Recorded = { kind: "insert", op: 0, key: "k", parts };
  expect(judged([both, inserted(0, 20n)], ["a"], ["x", "b"])).toEqual(["invented"]);
  expect(judged([both, inserted(0, 20n)], ["a"], ["x"])).toContain("lost");
});

test("an insert is no duplicate of attempts that failed, and may be one of those that did not", () => {
  const parts = [
    { vchannel: one, name: "a" },
    { vchannel: two, name: "b" },
  ];
  const attempt = (op: number): Recorded => ({ kind: "insert", op, key: "k", parts });
  const failed: Recorded = { kind: "failed", op: 0 };
  expect(judged([attempt(0), failed, attempt(1), inserted(1, 10n)], ["a"], ["b"])).toEqual([]);
  expect(judged([attempt(0), attempt(1), inserted(1, 10n, true)], ["a"], ["b"])).toEqual([]);
});
