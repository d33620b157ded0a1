/** What the batches in `record-batch-1.hex` hold, in words. */

import type { BatchInput, WalMessage } from "../../src/mod.ts";

const encoder = new TextEncoder();

function message(type: number, vchannel: string, header: string, payload: Uint8Array): WalMessage {
  return { type, vchannel, header: encoder.encode(header), payload };
}

/** Bytes that count up. */
function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

const tick = 1_700_000_000_000n << 18n;
const txn = tick + 3n;

/** The inputs of the batches; each continues the one before it. */
export const goldenBatches: Omit<BatchInput, "previousChecksum">[] = [
  // The first of a log: one message, nothing but a header.
  {
    term: 1,
    sequence: 0,
    firstTick: tick,
    appends: [{ messages: [message(5, "orders_0", "created", counting(0))] }],
  },
  // Several vchannels, keys, a transaction that begins, and all that is empty.
  {
    term: 1,
    sequence: 1,
    firstTick: tick + 1n,
    appends: [
      {
        idempotencyKey: "k1",
        messages: [
          message(2, "orders_0", "h", counting(13)),
          message(2, "orders_0", "", counting(8)),
        ],
      },
      { messages: [message(900, "plätze_1", "lease", counting(0))], idempotencyKey: "begin-ü" },
      { txn, messages: [message(2, "plätze_1", "", counting(300))], idempotencyKey: "in it 🚀" },
      { messages: [message(1, "", "", counting(0))] },
    ],
  },
  // A later owner ends the transaction; a type that nobody knows.
  {
    term: 9_007_199_254_740_991,
    sequence: 2,
    firstTick: tick + (60_000n << 18n),
    appends: [
      { txn, messages: [message(901, "plätze_1", "", counting(0))] },
      { messages: [message(4_294_967_295, "orders_0", "header", counting(7))] },
    ],
  },
];
