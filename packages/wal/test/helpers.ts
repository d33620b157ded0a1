/** What the tests of this package share. */

import type { Tick, TickSource } from "@millrace/types";
import type { RecordBatch, WalMessage } from "../src/mod.ts";

/** Ticks 1, 2, 3, ... */
export function countingTicks(): TickSource {
  let next: Tick = 1n;
  return {
    take(count, after = 0n) {
      if (after >= next) next = after + 1n;
      const first = next;
      next += BigInt(count);
      return { first, count };
    },
  };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A message with this text as payload. */
export function text(payload: string, vchannel = "v", type = 2): WalMessage {
  return { type, vchannel, header: new Uint8Array(0), payload: encoder.encode(payload) };
}

/** The payloads of a batch as text. */
export function textsOf(batch: RecordBatch): string[] {
  return [...batch.messages()].map(({ payload }) => decoder.decode(payload));
}

/** The payloads of the first `count` messages of a scan. */
export async function readTexts(
  batches: AsyncIterable<RecordBatch>,
  count: number,
): Promise<string[]> {
  const texts: string[] = [];
  if (count === 0) return texts;
  for await (const batch of batches) {
    texts.push(...textsOf(batch));
    if (texts.length >= count) break;
  }
  return texts;
}
