import { expect, test } from "vitest";
import { createTailBuffer, type TailBuffer } from "../src/read/tail-buffer.ts";
import { createBatcher, plain } from "./read-helpers.ts";

function held(tail: TailBuffer, until: number): number[] {
  return Array.from({ length: until }, (_, sequence) => sequence).filter((sequence) =>
    tail.get(sequence),
  );
}

test("the oldest batches are forgotten beyond the limit in bytes", () => {
  const batcher = createBatcher();
  const tail = createTailBuffer({ maxBytes: 10_000 });
  for (let i = 0; i < 20; i++) tail.push(batcher.next([plain("x".repeat(2000))]));
  expect(held(tail, 20)).toEqual([17, 18, 19]);
  tail.push(batcher.next([plain("x".repeat(20_000))]));
  expect(held(tail, 21)).toEqual([]);
});

test("batches are forgotten at their age when the owner looks, and those without a time never", () => {
  const batcher = createBatcher();
  const tail = createTailBuffer({ maxBytes: 1e6, maxAgeMs: 30_000 });
  for (const now of [0, 100, 29_999]) tail.push(batcher.next([plain("x")]), now);
  tail.push(batcher.next([plain("x")]));
  tail.expire(29_999);
  expect(held(tail, 4)).toEqual([0, 1, 2, 3]);
  tail.expire(30_100);
  expect(held(tail, 4)).toEqual([2, 3]);
  tail.expire(1e9);
  expect(held(tail, 4)).toEqual([3]);
});

test("what was forgotten frees its bytes", () => {
  const batcher = createBatcher();
  const tail = createTailBuffer({ maxBytes: 10_000, maxAgeMs: 10 });
  for (let i = 0; i < 3; i++) tail.push(batcher.next([plain("x".repeat(2000))]), 0);
  tail.expire(10);
  for (let i = 0; i < 3; i++) tail.push(batcher.next([plain("x".repeat(2000))]), 20);
  expect(held(tail, 6)).toEqual([3, 4, 5]);
  tail.clear();
  expect(held(tail, 6)).toEqual([]);
});
