/** What the tests of this package share. */

import type { Tick, TickSource } from "@millrace/types";
import {
  createMemoryBackend,
  type Log,
  type LogBackend,
  type RecordBatch,
  type WalMessage,
} from "../src/mod.ts";

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

/** A message with this text as payload; an insert into vchannel `v` unless told otherwise. */
export function text(payload: string, vchannel = "v", type = 2): WalMessage {
  return { type, vchannel, header: new Uint8Array(0), payload: encoder.encode(payload) };
}

/** The message that creates a vchannel. */
export function creation(vchannel: string, header = vchannel): WalMessage {
  return { type: 5, vchannel, header: encoder.encode(header), payload: new Uint8Array(0) };
}

/** The message that ends a vchannel. */
export function ending(vchannel: string): WalMessage {
  return { type: 6, vchannel, header: new Uint8Array(0), payload: new Uint8Array(0) };
}

/** The payloads of a batch as text. */
export function textsOf(batch: RecordBatch): string[] {
  return [...batch.messages()].map(({ payload }) => decoder.decode(payload));
}

/** The payloads of a scan as text, until there are `count`. */
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

/** A memory backend whose appends wait until they are let through. */
export interface GatedBackend extends LogBackend {
  /** How many appends wait. */
  waiting(): number;
  /** Lets the oldest append through, or fails it. */
  release(error?: Error): void;
  /** Lets all through, from now on. */
  openGate(): void;
}

/** Creates a {@linkcode GatedBackend}. */
export function createGatedBackend(inner: LogBackend = createMemoryBackend()): GatedBackend {
  const gates: ((error?: Error) => void)[] = [];
  let free = false;
  return {
    ...inner,
    async open(pchannel, term) {
      const log = await inner.open(pchannel, term);
      const append: Log["append"] = async (batch) => {
        if (!free) {
          await new Promise<void>((resolve, reject) =>
            gates.push((error) => (error ? reject(error) : resolve())),
          );
        }
        await log.append(batch);
      };
      return { ...log, append };
    },
    waiting: () => gates.length,
    release: (error) => gates.shift()?.(error),
    openGate() {
      free = true;
      for (const gate of gates.splice(0)) gate();
    },
  };
}

/** Lets everything run that is ready to run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}
