import * as zlib from "node:zlib";
import { MillraceError } from "@millrace/types";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type BatchInput, crc32, decodeBatch, decodeBatches, encodeBatch } from "../src/mod.ts";
import { text, textsOf } from "./helpers.ts";

const bytes = fc.uint8Array({ maxLength: 40 });
const message = fc.record({
  type: fc.nat(0xffff_ffff),
  vchannel: fc.constantFrom("", "p_1v0", "p_1v1", "π_2v0"),
  header: bytes,
  payload: bytes,
});
const append = fc.record({
  messages: fc.array(message, { minLength: 1, maxLength: 4 }),
  idempotencyKey: fc.oneof(fc.constant(""), fc.string({ unit: "grapheme", maxLength: 20 })),
  txn: fc.oneof(fc.constant(0n), fc.bigInt({ min: 1n, max: 2n ** 64n - 1n })),
});
const input: fc.Arbitrary<BatchInput> = fc.record({
  term: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  sequence: fc.maxSafeNat(),
  firstTick: fc.bigInt({ min: 0n, max: 2n ** 63n }),
  previousChecksum: fc.nat(0xffff_ffff),
  appends: fc.array(append, { minLength: 1, maxLength: 5 }),
});

test("what is encoded is decoded, wherever it stands", () => {
  fc.assert(
    fc.property(input, fc.nat(16), (value, offset) => {
      const { bytes } = encodeBatch(value);
      expect(bytes.length % 8).toBe(0);
      const placed = new Uint8Array(offset + bytes.length + 5);
      placed.set(bytes, offset);
      const batch = decodeBatch(placed, offset);
      const { term, sequence, firstTick, previousChecksum } = batch;
      expect({ term, sequence, firstTick, previousChecksum }).toEqual({
        term: value.term,
        sequence: value.sequence,
        firstTick: value.firstTick,
        previousChecksum: value.previousChecksum,
      });
      const expected = value.appends.flatMap(({ messages, idempotencyKey, txn }) =>
        messages.map((message, i) => ({
          ...message,
          idempotencyKey: i === 0 ? idempotencyKey : "",
          appendCount: i === 0 ? messages.length : 0,
          txn,
        })),
      );
      const decoded = [...batch.messages()];
      expect(batch.count).toBe(expected.length);
      expect(decoded).toEqual(
        expected.map((message, index) => ({
          ...message,
          id: { sequence: value.sequence, index },
          tick: value.firstTick + BigInt(index),
        })),
      );
      expect(batch.lastTick).toBe(decoded.at(-1)?.tick);
      expect(new Set(batch.vchannels)).toEqual(new Set(expected.map((m) => m.vchannel)));
      expect(batch.vchannels.length).toBe(new Set(batch.vchannels).size);
    }),
  );
});

test("memory that was used before makes no difference", () => {
  fc.assert(
    fc.property(input, fc.nat(64), (value, spare) => {
      const allocate = (bytes: number) => new Uint8Array(bytes + spare).fill(0xa5);
      expect(encodeBatch(value, { allocate }).bytes).toEqual(encodeBatch(value).bytes);
    }),
  );
});

function sample(sequence: number, previousChecksum = 0): Uint8Array {
  const appends = [
    { messages: [text("one"), text("two", "w")], idempotencyKey: "key" },
    { messages: [text("three")] },
  ];
  return encodeBatch({ term: 3, sequence, firstTick: 7n, previousChecksum, appends }).bytes;
}

test("payloads are aligned to 8 bytes", () => {
  for (const { payload } of decodeBatch(sample(0)).messages()) {
    expect(payload.byteOffset % 8).toBe(0);
  }
});

test("a flip of any bit is noticed", () => {
  const bytes = sample(5);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(() => decodeBatch(flipped), `bit ${bit}`).toThrow(MillraceError);
  }
});

test("a batch that is cut off anywhere is noticed", () => {
  const bytes = sample(5);
  for (let length = 0; length < bytes.length; length++) {
    expect(() => decodeBatch(bytes.subarray(0, length))).toThrow("is damaged");
  }
});

test("arbitrary bytes are refused, also with a right checksum", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(sample(0).length - 1), fc.nat(255)), { minLength: 1 }),
      (changes) => {
        const bytes = sample(0);
        for (const [at, value] of changes) bytes[at] = value;
        const sum = crc32(bytes.subarray(8));
        new DataView(bytes.buffer).setUint32(4, sum, true);
        // Either it is refused, or it is sound: every message can be read.
        try {
          const batch = decodeBatch(bytes);
          expect([...batch.messages()].length).toBe(batch.count);
        } catch (error) {
          expect(MillraceError.is(error, "DATA_LOSS")).toBe(true);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test("decodeBatches says where the damage is", () => {
  const first = sample(0);
  const second = sample(1);
  const both = new Uint8Array([...first, ...second]);
  expect(decodeBatches(both).map((batch) => batch.sequence)).toEqual([0, 1]);
  expect(decodeBatches(both).flatMap(textsOf)).toEqual([
    "one",
    "two",
    "three",
    "one",
    "two",
    "three",
  ]);
  both[first.length + 70] = 255;
  expect(() => decodeBatches(both)).toThrow(`the batch at byte ${first.length} is damaged`);
});

test("a batch without messages or with an append without messages is refused", () => {
  const rest = { term: 1, sequence: 0, firstTick: 1n, previousChecksum: 0 };
  expect(() => encodeBatch({ ...rest, appends: [] })).toThrow("1 to 65536 messages");
  expect(() => encodeBatch({ ...rest, appends: [{ messages: [] }] })).toThrow("at least one");
});

test("the portable CRC-32 is that of zlib", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array(), (a, b) => {
      expect(crc32(a)).toBe(zlib.crc32(a));
      expect(crc32(b, crc32(a))).toBe(zlib.crc32(b, zlib.crc32(a)));
    }),
  );
});
