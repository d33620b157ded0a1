import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decodeBatches, encodeBatch, type StoredMessage } from "../src/mod.ts";
import { goldenBatches } from "./golden/batches.ts";

type GoldenBatch = (typeof goldenBatches)[number];

const text = readFileSync(new URL("./golden/record-batch-1.hex", import.meta.url), "utf8");
const golden = Uint8Array.from(text.replaceAll(/\s/g, "").match(/../g) ?? [], (byte) =>
  Number.parseInt(byte, 16),
);

/** The messages of a batch as they are to be read. */
function storedMessages({ appends, sequence, firstTick }: GoldenBatch): StoredMessage[] {
  const stored: StoredMessage[] = [];
  for (const { messages, idempotencyKey = "", txn = 0n } of appends) {
    messages.forEach((message, i) => {
      const index = stored.length;
      stored.push({
        ...message,
        id: { sequence, index },
        tick: firstTick + BigInt(index),
        idempotencyKey: i === 0 ? idempotencyKey : "",
        appendCount: i === 0 ? messages.length : 0,
        txn,
      });
    });
  }
  return stored;
}

describe("batches that were written by version 1 of the format", () => {
  test("are read as they were meant", () => {
    const batches = decodeBatches(golden);
    expect(batches).toHaveLength(goldenBatches.length);
    batches.forEach((batch, i) => {
      const input = goldenBatches[i] as GoldenBatch;
      expect(batch).toMatchObject({
        term: input.term,
        sequence: input.sequence,
        firstTick: input.firstTick,
        previousChecksum: batches[i - 1]?.checksum ?? 0,
      });
      expect([...batch.messages()]).toEqual(storedMessages(input));
    });
  });

  test("are written to the byte as they were", () => {
    let previousChecksum = 0;
    const parts = goldenBatches.map((input) => {
      const batch = encodeBatch({ ...input, previousChecksum });
      previousChecksum = batch.checksum;
      return batch.bytes;
    });
    expect(hex(Uint8Array.from(parts.flatMap((bytes) => [...bytes])))).toBe(hex(golden));
  });
});

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
