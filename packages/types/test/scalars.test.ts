import fc from "fast-check";
import { expect, test } from "vitest";
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "../src/columns/float16.ts";
import { findJsonProblem, isJsonText } from "../src/columns/json-text.ts";
import { formatTimestamp, parseTimestamp } from "../src/mod.ts";

const halves = Array.from({ length: 65_536 }, (_, half) => half);

test("every float16 and bfloat16 comes back from its value", () => {
  for (const half of halves) {
    const value = fromFloat16(half);
    if (!Number.isNaN(value)) expect(toFloat16(value)).toBe(half);
    const brain = fromBfloat16(half);
    if (!Number.isNaN(brain)) expect(toBfloat16(brain)).toBe(half);
  }
});

test("no other float16 is nearer than the one that is chosen, and ties go to even", () => {
  const positive = halves.slice(0, 0x7c00).map(fromFloat16);
  fc.assert(
    fc.property(fc.double({ min: 0, max: 65_519, noNaN: true }), (value) => {
      const half = toFloat16(value);
      const distance = Math.abs((positive[half] ?? 0) - value);
      for (const other of [half - 1, half + 1]) {
        const rival = Math.abs((positive[other] ?? Number.POSITIVE_INFINITY) - value);
        expect(distance < rival || (distance === rival && half % 2 === 0)).toBe(true);
      }
      expect(toFloat16(-value)).toBe(half | 0x8000);
    }),
  );
});

test("float16 and bfloat16 have the bits that IEEE 754 gives them", () => {
  expect([1, -2, 65_504, 2 ** -24, 1 / 3].map(toFloat16)).toEqual([
    0x3c00, 0xc000, 0x7bff, 0x0001, 0x3555,
  ]);
  expect([65_519.99, 65_520, Number.NEGATIVE_INFINITY, 2 ** -25].map(toFloat16)).toEqual([
    0x7bff, 0x7c00, 0xfc00, 0,
  ]);
  expect([1, -2, Math.PI, 3.4e38].map(toBfloat16)).toEqual([0x3f80, 0xc000, 0x4049, 0x7f80]);
  expect([fromFloat16(toFloat16(Number.NaN)), fromBfloat16(toBfloat16(Number.NaN))]).toEqual([
    Number.NaN,
    Number.NaN,
  ]);
});

test("timestamps come back from their text", () => {
  const first = BigInt(Date.UTC(1, 0, 1)) * 1000n - 1900n * 31_556_952_000_000n;
  fc.assert(
    fc.property(fc.bigInt({ min: first, max: 253_402_300_799_999_999n }), (micros) => {
      expect(parseTimestamp(formatTimestamp(micros))).toBe(micros);
    }),
  );
  fc.assert(
    fc.property(
      fc.date({ min: new Date(0), max: new Date("9999-12-31"), noInvalidDate: true }),
      (date) => {
        expect(parseTimestamp(date.toISOString())).toBe(BigInt(date.getTime()) * 1000n);
        expect(new Date(formatTimestamp(BigInt(date.getTime()) * 1000n))).toEqual(date);
      },
    ),
  );
});

test.each([
  ["2024-02-29T00:00:00Z", 1_709_164_800_000_000n],
  ["2024-02-29t01:00:00.000001+01:00", 1_709_164_800_000_001n],
  ["2024-02-28T19:00:00-05:00", 1_709_164_800_000_000n],
  ["1969-12-31T23:59:59.999999Z", -1n],
  ["0001-01-01T00:00:00Z", -62_135_596_800_000_000n],
  ["2024-02-29 00:00:00z", 1_709_164_800_000_000n],
  ["2024-01-01T00:00:00.123456000Z", 1_704_067_200_123_456n],
])("%s is a timestamp", (text, micros) => {
  expect(parseTimestamp(text)).toBe(micros);
});

test.each([
  "2024-02-30T00:00:00Z",
  "2023-02-29T00:00:00Z",
  "2024-13-01T00:00:00Z",
  "2024-00-01T00:00:00Z",
  "2024-01-01T24:00:00Z",
  "2024-01-01T00:60:00Z",
  "2024-01-01T00:00:60Z",
  "2024-01-01T00:00:00+24:00",
  "2024-01-01T00:00:00",
  "2024-01-01",
  "2024-01-01T00:00:00.1234567Z",
  "2024-01-01T00:00:00.Z",
  "20240101T000000Z",
  "",
])("%j is not a timestamp", (text) => {
  expect(parseTimestamp(text)).toBeUndefined();
});

test("timestamps have as many digits as they need", () => {
  expect([0n, 1_000_000n, 1500n, 500_000n, -1n].map(formatTimestamp)).toEqual([
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:01Z",
    "1970-01-01T00:00:00.001500Z",
    "1970-01-01T00:00:00.500Z",
    "1969-12-31T23:59:59.999999Z",
  ]);
  expect(formatTimestamp(2n ** 63n - 1n)).toBe("9223372036854775807");
});

const isJson = (text: string): boolean => {
  // Within other bytes, so that reading too far would be seen.
  const bytes = new TextEncoder().encode(`[1${text}2]`);
  return isJsonText(bytes, 2, bytes.length - 2);
};

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

test("what JSON.stringify writes is JSON text", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 2), (value, space) => {
      expect(isJson(JSON.stringify(value, undefined, space))).toBe(true);
    }),
  );
});

test("damaged JSON text is JSON text exactly if JSON.parse takes it", () => {
  const damaged = fc
    .tuple(fc.jsonValue(), fc.nat(), fc.constantFrom(...'[]{},:"\\0-.eEtx \n\t'), fc.boolean())
    .map(([value, place, char, cut]) => {
      const text = JSON.stringify(value);
      const at = place % (text.length + 1);
      return text.slice(0, at) + (cut ? "" : char) + text.slice(at + 1);
    });
  fc.assert(
    fc.property(damaged, (text) => {
      expect(isJson(text)).toBe(parses(text));
    }),
    { numRuns: 2000 },
  );
});

test.each([
  "0",
  "-0",
  "1.5e+10",
  "1E-2",
  '""',
  '"\\u00e9\\n"',
  " [ ] ",
  "{ }",
  '{"a":[1,{"b":null}]}',
  "true",
  "null",
])("%s is JSON text", (text) => {
  expect([isJson(text), parses(text)]).toEqual([true, true]);
});

test.each([
  "",
  " ",
  "01",
  "1.",
  ".5",
  "+1",
  "-",
  "1e",
  "1e+",
  "nul",
  "True",
  "NaN",
  "'a'",
  '"',
  '"\\x"',
  '"\\u12g4"',
  '"\\u12"',
  '"\t"',
  "[1,]",
  "[,1]",
  "[1 2]",
  "[",
  "]",
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  "{a:1}",
  "{",
  '{"a":1',
  "1 2",
  "[1]]",
])("%j is not JSON text", (text) => {
  expect([isJson(text), parses(text)]).toEqual([false, false]);
});

test("JSON text nested deeper than 128 is refused without exhausting the stack", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  expect(isJson(nested(128))).toBe(true);
  expect(isJson(nested(129))).toBe(false);
  expect(isJson(nested(1_000_000))).toBe(false);
  expect(isJson(`${'{"a":'.repeat(129)}1${"}".repeat(129)}`)).toBe(false);
});

test("a JSON value has no problem, whatever it is", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(findJsonProblem(value)).toBeUndefined();
    }),
  );
});
