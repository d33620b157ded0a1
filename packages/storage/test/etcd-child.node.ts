/**
 * What tests of etcd do in another process: `etcd-child.node.ts hold|roundtrip URL PREFIX`. Prints a
 * line when it has what it wants, and then what happens.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { createEtcdMetaStore } from "../src/mod.ts";

const [command = "", endpoint = "", prefix = ""] = process.argv.slice(2);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const store = createEtcdMetaStore({
  endpoints: [endpoint],
  prefix,
  callTimeoutMs: 3000,
  clock: systemClock,
  random: systemRandom,
});

async function hold(): Promise<void> {
  const lease = await store.lease("leader", { value: encode("child"), ttlMs: 2000 });
  if (lease === undefined) throw new Error("another holds it");
  lease.signal.addEventListener("abort", () => console.log(`lost ${lease.signal.reason.code}`));
  console.log("held");
}

async function roundtrip(): Promise<void> {
  const stop = new AbortController();
  const events = store.watch("", { signal: stop.signal })[Symbol.asyncIterator]();
  const [{ value }] = await Promise.all([events.next(), store.put("key", encode("value"))]);
  console.log(`told ${value?.type}`);
  stop.abort();
  await store.close();
}

try {
  await (command === "hold" ? hold() : roundtrip());
} catch (error) {
  const { code, message } = MillraceError.from(error);
  console.log(`${code} ${message}`);
  await store.close();
}
