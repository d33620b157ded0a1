import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { encodeRecord } from "../src/meta/record.ts";
import { createEtcdMetaStore, type EtcdMetaStoreOptions, type MetaStore } from "../src/mod.ts";
import { createFakeEtcd, type FakeEtcd, type FakeRequest } from "./fake-etcd.ts";

/** UTF-8. */
export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
/** The text of UTF-8. */
export const text = (data: Uint8Array | undefined): string => new TextDecoder().decode(data);

/** A simulated etcd, and stores on it that share a clock. */
export function setup() {
  const clock = createVirtualClock();
  const fake = createFakeEtcd();
  let seed = 0;
  const open = (extra: Partial<EtcdMetaStoreOptions> = {}): MetaStore => {
    seed += 1;
    return createEtcdMetaStore({
      endpoints: ["http://one:2379"],
      prefix: "meta",
      fetch: fake.fetch,
      clock,
      random: createSeededRandom(seed),
      ...extra,
    });
  };
  return { clock, fake, open };
}

/** What is stored for a value. */
export function recordOf(value: string): Uint8Array {
  return encodeRecord({ nonce: new Uint8Array(16), ttlMs: 0, value: bytes(value) });
}

/** Lets what does not wait for time come to rest. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Advances while a promise is pending. */
export async function whilePassing<T>(
  clock: ReturnType<typeof setup>["clock"],
  promise: Promise<T>,
): Promise<T> {
  let pending = true;
  const settled = promise.finally(() => {
    pending = false;
  });
  settled.catch(() => undefined);
  for (let i = 0; pending && i < 1000; i++) {
    await settle();
    await clock.advance(50);
  }
  return await settled;
}

/** The next transaction is carried out, then this happens, and its answer is lost. */
export function loseNextAnswer(fake: FakeEtcd, then: () => void = () => undefined): void {
  let isLost = false;
  fake.intercept = (request, answer) => {
    const response = answer();
    if (isLost || request.path !== "kv/txn") return response;
    isLost = true;
    then();
    throw new TypeError("the connection broke");
  };
}

/** Never answers. */
export async function untilAborted({ signal }: FakeRequest): Promise<never> {
  return await new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
