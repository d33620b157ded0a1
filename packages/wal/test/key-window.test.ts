import { expect, test } from "vitest";
import { createKeyWindow } from "../src/append/key-window.ts";

const place = (sequence: number) => ({
  id: { sequence, index: 0 },
  firstTick: BigInt(sequence),
  count: 1,
});

function known(window: ReturnType<typeof createKeyWindow>, until: number): number[] {
  const all = Array.from({ length: until }, (_, i) => i);
  return all.filter((i) => window.find("v", `key ${i}`)?.id.sequence === i);
}

test("the oldest keys are forgotten beyond the limit, also those of a snapshot", () => {
  const before = createKeyWindow(3);
  for (let i = 0; i < 5; i++) before.remember("v", `key ${i}`, place(i));
  expect(known(before, 5)).toEqual([2, 3, 4]);
  const window = createKeyWindow(3, before.snapshot());
  for (let i = 5; i < 7; i++) window.remember("v", `key ${i}`, place(i));
  expect(known(window, 7)).toEqual([4, 5, 6]);
  expect(window.snapshot().map(({ key }) => key)).toEqual(["key 4", "key 5", "key 6"]);
});

test("what was forgotten on demand makes room for another", () => {
  const window = createKeyWindow(3);
  for (let i = 0; i < 4; i++) window.remember("v", `key ${i}`, place(i));
  for (const key of ["key 1", "key 3"]) window.forget("v", key);
  expect(known(window, 4)).toEqual([2]);
  for (let i = 4; i < 7; i++) window.remember("v", `key ${i}`, place(i));
  expect(known(window, 7)).toEqual([4, 5, 6]);
  for (let i = 4; i < 7; i++) window.forget("v", `key ${i}`);
  for (let i = 7; i < 11; i++) window.remember("v", `key ${i}`, place(i));
  expect(known(window, 11)).toEqual([8, 9, 10]);
});

test("a key of one vchannel is none of another", () => {
  const window = createKeyWindow(3);
  window.remember("v", "key", place(1));
  expect(window.find("w", "key")).toBeUndefined();
});

test("a window of no keys remembers none", () => {
  const window = createKeyWindow(0);
  window.remember("v", "key 0", place(0));
  expect(known(window, 1)).toEqual([]);
});
