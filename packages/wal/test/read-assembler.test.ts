import type { Tick } from "@millrace/types";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type BatchAppend, createAssembler, type Delivery, type RecordBatch } from "../src/mod.ts";
import { text } from "./helpers.ts";
import {
  begin,
  body,
  commit,
  createBatcher,
  plain,
  rollback,
  textsOfDelivery,
  timeTick,
} from "./read-helpers.ts";

/** What an assembler makes of batches. */
function deliveriesOf(batches: readonly RecordBatch[], vchannel?: string): Delivery[] {
  const assembler = createAssembler({ vchannel });
  return batches.flatMap((batch) => assembler.take(batch));
}

test("each append counts at once, whole, at the tick of its last message", () => {
  const batcher = createBatcher();
  const batches = [batcher.next([plain("a", "b"), plain("c")]), batcher.next([plain("d")])];
  expect(deliveriesOf(batches).map(({ messages, ...rest }) => rest)).toEqual([
    { tick: 2n, id: { sequence: 0, index: 0 }, resume: 0 },
    { tick: 3n, id: { sequence: 0, index: 2 }, resume: 0 },
    { tick: 4n, id: { sequence: 1, index: 0 }, resume: 1 },
  ]);
  expect(deliveriesOf(batches).map(textsOfDelivery)).toEqual(["a,b", "c", "d"]);
});

test("a transaction counts at its commit, in the order of the log, without what begins and ends it", () => {
  const batcher = createBatcher();
  const txn = batcher.nextTick();
  const batches = [
    batcher.next([begin()]),
    batcher.next([body(txn, "a"), plain("x"), body(txn, "b", "c")]),
    batcher.next([body(txn, "d"), commit(txn), plain("y")]),
  ];
  const deliveries = deliveriesOf(batches);
  expect(deliveries.map(textsOfDelivery)).toEqual(["x", "a,b,c,d", "y"]);
  expect(deliveries[1]).toMatchObject({ tick: 7n, id: { sequence: 2, index: 1 }, resume: 2 });
  expect(deliveries[0]?.resume).toBe(0);
});

test("what was rolled back, an empty transaction and time ticks are never seen", () => {
  const batcher = createBatcher();
  const first = batcher.nextTick();
  const batches = [
    batcher.next([begin(), begin(), timeTick()]),
    batcher.next([body(first, "a"), rollback(first)]),
    batcher.next([commit(first + 1n), timeTick()]),
  ];
  expect(deliveriesOf(batches)).toEqual([]);
});

test("a transaction whose beginning was not taken is left out whole", () => {
  const batcher = createBatcher();
  const txn = batcher.nextTick();
  const batches = [
    batcher.next([begin(), body(txn, "a")]),
    batcher.next([body(txn, "b"), plain("x")]),
    batcher.next([commit(txn), plain("y")]),
  ];
  expect(deliveriesOf(batches.slice(1)).map(textsOfDelivery)).toEqual(["x", "y"]);
  expect(deliveriesOf(batches.slice(2)).map(textsOfDelivery)).toEqual(["y"]);
});

test("one vchannel's assembler is blind to the others, and sees what is of all", () => {
  const batcher = createBatcher();
  const txn = batcher.nextTick();
  const other = { messages: [text("of w", "w")], txn: txn + 1n };
  const batches = [
    batcher.next([begin("v"), begin("w"), body(txn, "of v"), other]),
    batcher.next([{ messages: [text("of all", "")] }, { messages: [text("plain w", "w")] }]),
    batcher.next([commit(txn + 1n, "w"), commit(txn, "v")]),
  ];
  expect(deliveriesOf(batches, "v").map(textsOfDelivery)).toEqual(["of all", "of v"]);
  expect(deliveriesOf(batches, "w").map(textsOfDelivery)).toEqual(["of all", "plain w", "of w"]);
});

test("it says from where what is open would have to be read, and what it holds", () => {
  const batcher = createBatcher();
  const assembler = createAssembler();
  const txn = batcher.nextTick();
  assembler.take(batcher.next([plain("x"), begin()]));
  assembler.take(batcher.next([begin(), body(txn + 1n, "0123456789")]));
  expect(assembler.oldestOpen()).toBe(0);
  expect(assembler.heldBytes()).toBe(10 + 256);
  assembler.take(batcher.next([rollback(txn + 1n)]));
  expect(assembler.oldestOpen()).toBe(1);
  expect(assembler.heldBytes()).toBe(0);
  assembler.take(batcher.next([rollback(txn + 2n)]));
  expect(assembler.oldestOpen()).toBeUndefined();
});

test("what is held of a large batch does not hold up the rest of it", () => {
  const batcher = createBatcher();
  const assembler = createAssembler();
  const txn = batcher.nextTick();
  assembler.take(batcher.next([begin(), body(txn, "small"), plain("x".repeat(100_000))]));
  const large = batcher.next([body(txn, "y".repeat(100_000)), plain("x")]);
  assembler.take(large);
  const [delivery] = assembler.take(batcher.next([commit(txn)]));
  const [small, big] = delivery?.messages ?? [];
  expect(small?.payload.buffer.byteLength).toBe(5);
  expect(big?.payload.buffer).toBe(large.bytes.buffer);

  const other = batcher.nextTick();
  const whole = batcher.next([begin(), body(other, "a"), commit(other), plain("x".repeat(1000))]);
  expect(assembler.take(whole)[0]?.messages[0]?.payload.buffer).toBe(whole.bytes.buffer);
});

/** What happens in a log, by chance: a script of which batches are made. */
const script = fc.array(
  fc.array(fc.record({ what: fc.nat(9), which: fc.nat(5) }), { minLength: 1, maxLength: 5 }),
  { minLength: 1, maxLength: 14 },
);

/** Batches of plain appends and of transactions that overlap, and what is to be delivered of them. */
function enact(steps: { what: number; which: number }[][]) {
  const batcher = createBatcher();
  const open = new Map<Tick, string[]>();
  const expected: string[] = [];
  const batches: RecordBatch[] = [];
  let payload = 0;
  for (const step of steps) {
    let tick = batcher.nextTick();
    const appends = step.map(({ what, which }): BatchAppend => {
      const [name, texts] = [...open][which % (open.size || 1)] ?? [];
      const own = `m${payload++}`;
      if (name === undefined || texts === undefined || what < 2) {
        if (what % 2 === 0) open.set(tick, []);
        else expected.push(own);
        tick++;
        return what % 2 === 0 ? begin() : plain(own);
      }
      if (what < 7) {
        texts.push(`${own}a`, `${own}b`);
        tick += 2n;
        return body(name, `${own}a`, `${own}b`);
      }
      tick++;
      open.delete(name);
      if (what === 7) return rollback(name);
      if (texts.length > 0) expected.push(texts.join(","));
      return commit(name);
    });
    batches.push(batcher.next(appends));
  }
  return { batches, expected };
}

test("whatever overlaps: all that is committed, once, in order, and from any delivery on the rest", () => {
  const cases = fc.property(script, (steps) => {
    const { batches, expected } = enact(steps);
    const all = deliveriesOf(batches);
    expect(all.map(textsOfDelivery)).toEqual(expected);
    for (const [place, { tick, resume }] of all.entries()) {
      const rest = deliveriesOf(batches.slice(resume)).filter((later) => later.tick > tick);
      expect(rest).toEqual(all.slice(place + 1));
    }
  });
  fc.assert(cases, { numRuns: 300, seed: 7 });
});
