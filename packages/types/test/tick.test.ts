import fc from "fast-check";
import { expect, test } from "vitest";
import { comparePositions, tickFromMs, ticksPerMs, tickToMs } from "../src/mod.ts";

test("a tick is milliseconds shifted by 18 bits", () => {
  expect(tickFromMs(1)).toBe(262_144n);
  expect(tickFromMs(1_700_000_000_000)).toBe(1_700_000_000_000n << 18n);
  expect(BigInt(ticksPerMs)).toBe(tickFromMs(1));
});

test("every tick of a millisecond gives that millisecond back", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 45 }),
      fc.integer({ min: 0, max: ticksPerMs - 1 }),
      (ms, counter) => {
        expect(tickToMs(tickFromMs(ms) + BigInt(counter))).toBe(ms);
      },
    ),
  );
});

test("parts of a millisecond are cut off", () => {
  expect(tickFromMs(5.9)).toBe(tickFromMs(5));
});

test("positions are ordered by sequence, then by index", () => {
  const positions = [
    { sequence: 2, index: 0 },
    { sequence: 1, index: 5 },
    { sequence: 1, index: 0 },
  ];
  expect(positions.sort(comparePositions)).toEqual([
    { sequence: 1, index: 0 },
    { sequence: 1, index: 5 },
    { sequence: 2, index: 0 },
  ]);
  expect(comparePositions({ sequence: 3, index: 1 }, { sequence: 3, index: 1 })).toBe(0);
});
