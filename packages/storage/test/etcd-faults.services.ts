import { MillraceError } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { afterEach, describe, expect, test } from "vitest";
import { type EtcdOptions, type EtcdServer, startEtcd } from "../../../test/services/etcd.ts";
import { startRelay } from "../../../test/services/relay.ts";
import { createEtcdMetaStore, type EtcdMetaStoreOptions, type MetaStore } from "../src/mod.ts";
import { startChild } from "./child.ts";
import { follow } from "./follow.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string => new TextDecoder().decode(data);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options?: EtcdOptions): Promise<EtcdServer> {
  const etcd = await startEtcd(options);
  cleanups.push(etcd.stop);
  return etcd;
}

function open(endpoints: string[], extra: Partial<EtcdMetaStoreOptions> = {}): MetaStore {
  const store = createEtcdMetaStore({
    endpoints,
    callTimeoutMs: 20_000,
    clock: systemClock,
    random: systemRandom,
    ...extra,
  });
  cleanups.push(() => store.close());
  return store;
}

/** Adds 1 to a counter by compare-and-set; answers what became of it. */
async function increment(store: MetaStore, key: string): Promise<"done" | "refused" | "unknown"> {
  const found = await store.get(key);
  const next = bytes(String(Number(text(found?.value)) + 1));
  try {
    await store.put(key, next, { expected: found?.revision ?? null });
    return "done";
  } catch (error) {
    if (!MillraceError.is(error)) throw error;
    return error.maybeApplied ? "unknown" : "refused";
  }
}

test("increments are counted exactly while connections are cut in the middle of them", async () => {
  const etcd = await start();
  const relay = await startRelay(etcd.endpoints[0] ?? "");
  cleanups.push(relay.close);
  await open(etcd.endpoints).put("counter", bytes("0"));
  const stores = Array.from({ length: 4 }, () => open([relay.url]));
  const counts = { done: 0, refused: 0, unknown: 0 };
  let cutting = true;
  const cuts = (async () => {
    let count = 0;
    for (; cutting; count++) {
      await sleep(5 + systemRandom.next() * 20);
      await relay.cut();
      await relay.restore();
    }
    return count;
  })();
  await Promise.all(
    stores.map(async (store) => {
      for (let i = 0; i < 100; i++) counts[await increment(store, "counter")] += 1;
    }),
  );
  cutting = false;
  expect(await cuts).toBeGreaterThan(10);
  expect(counts.unknown).toBe(0);
  expect(text((await open(etcd.endpoints).get("counter"))?.value)).toBe(String(counts.done));
});

test("puts and watches go on over kill -9 and restarts of etcd", async () => {
  const etcd = await start();
  const store = open(etcd.endpoints);
  const watched = follow(open(etcd.endpoints), "k/");
  let writing = true;
  const written = new Map<string, number>();
  const writers = Array.from({ length: 3 }, async (_, writer) => {
    const key = `k/${writer}`;
    let expected: string | null = null;
    for (let i = 1; writing; i++) {
      // Each key has one writer, so that no put may be refused.
      expected = await store.put(key, bytes(String(i)), { expected });
      written.set(key, i);
      if (i % 10 === 0) {
        await store.delete(key, { expected });
        expected = null;
      }
    }
  });
  for (let i = 0; i < 3; i++) {
    await sleep(300);
    await etcd.kill();
    await sleep(100);
    await etcd.start();
  }
  writing = false;
  await Promise.all(writers);
  expect([...written.values()].every((count) => count > 20)).toBe(true);
  const listed = await store.list("k/");
  for (const { key, value } of listed) expect(text(value)).toBe(String(written.get(key)));
  const there = new Map(listed.map(({ key, value }) => [key, text(value)]));
  await watched.until(
    (state) => state.size === there.size && [...there].every(([k, v]) => state.get(k) === v),
  );
  await watched.stop();
});

test("a watch tells what it missed when its place has been compacted", async () => {
  const etcd = await start();
  const relay = await startRelay(etcd.endpoints[0] ?? "");
  cleanups.push(relay.close);
  const direct = open(etcd.endpoints);
  await direct.put("w/kept", bytes("1"));
  await direct.put("w/gone", bytes("1"));
  await direct.put("w/changed", bytes("1"));
  const watched = follow(open([relay.url]), "w/");
  await watched.until((state) => state.size === 3);
  await relay.cut();
  await direct.put("w/changed", bytes("2"));
  await direct.put("w/new", bytes("1"));
  await direct.put("w/brief", bytes("1"));
  await direct.delete("w/brief");
  await direct.delete("w/gone");
  const revision = await direct.put("v", bytes("x"));
  await etcd.ask("kv/compaction", { revision, physical: true });
  await relay.restore();
  await watched.until((state) => state.has("w/new") && !state.has("w/gone"));
  expect(watched.told.slice(3).sort()).toEqual(["delete w/gone", "put w/changed=2", "put w/new=1"]);
  await direct.put("w/after", bytes("1"));
  await watched.until((state) => state.has("w/after"));
  await watched.stop();
});

test("a watch in use is not disturbed by compactions", async () => {
  const etcd = await start();
  const store = open(etcd.endpoints);
  const watched = follow(store, "w/");
  for (let i = 1; i <= 50; i++) {
    const revision = await store.put("w/key", bytes(String(i)));
    if (i % 10 === 0) await etcd.ask("kv/compaction", { revision });
  }
  await watched.until((state) => state.get("w/key") === "50");
  await watched.stop();
});

test("a watch that is behind by many large values is told in pieces", async () => {
  const etcd = await start();
  const relay = await startRelay(etcd.endpoints[0] ?? "");
  cleanups.push(relay.close);
  const direct = open(etcd.endpoints);
  const watched = follow(open([relay.url]), "w/");
  await direct.put("w/0", bytes("first"));
  await watched.until((state) => state.has("w/0"));
  await relay.cut();
  // More than a line may have if it came in one.
  for (let i = 1; i <= 20; i++) await direct.put(`w/${i}`, new Uint8Array(1024 * 1024).fill(65));
  await relay.restore();
  await watched.until((state) => state.size === 21);
  expect(watched.told.length).toBe(21);
  await watched.stop();
  expect(await direct.list("w/")).toHaveLength(21);
});

describe("a member that does not answer", () => {
  test("is given up after the time limit, and the outcome is said to be unknown", async () => {
    const etcd = await start();
    const store = open(etcd.endpoints, { requestTimeoutMs: 100, callTimeoutMs: 500 });
    await store.put("key", bytes("1"));
    etcd.freeze();
    const begin = performance.now();
    const put = store.put("key", bytes("2"), { expected: "2" });
    await expect(put).rejects.toMatchObject({
      code: "UNAVAILABLE",
      retryable: true,
      maybeApplied: true,
      message: expect.stringContaining("no answer within"),
    });
    await expect(store.get("key")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(performance.now() - begin).toBeLessThan(3000);
    etcd.thaw();
    expect(await store.get("key")).toBeDefined();
  });

  test("is passed over for another", async () => {
    const etcd = await start({ members: 3 });
    const store = open(etcd.endpoints, { requestTimeoutMs: 500, watchRenewMs: 1000 });
    const watched = follow(store, "k/");
    const lease = await store.lease("leader", { value: bytes("me"), ttlMs: 5000 });
    await store.put("k/a", bytes("1"));
    etcd.freeze(0);
    await store.put("k/a", bytes("2"));
    await watched.until((state) => state.get("k/a") === "2");
    etcd.thaw(0);
    await etcd.kill(1);
    for (let i = 3; i < 20; i++) await store.put("k/a", bytes(String(i)));
    await watched.until((state) => state.get("k/a") === "19");
    await sleep(4000);
    expect(lease?.signal.aborted).toBe(false);
    await watched.stop();
  });
});

describe("a lease", () => {
  const ttlMs = 2000;

  test("of a process that is stopped passes on, and the process is told when it goes on", async () => {
    const etcd = await start();
    const store = open(etcd.endpoints);
    const [endpoint = ""] = etcd.endpoints;
    const script = "etcd-child.node.ts";
    const child = startChild(["hold", endpoint, "millrace"], { script });
    cleanups.push(child.kill);
    expect(await child.line()).toBe("held");
    expect(await store.lease("leader", { value: bytes("me"), ttlMs })).toBeUndefined();
    child.freeze();
    const lease = await untilTaken(store, "leader", ttlMs);
    child.thaw();
    expect(await child.line()).toBe("lost PRECONDITION_FAILED");
    expect(text((await store.get("leader"))?.value)).toBe("me");
    expect(lease.signal.aborted).toBe(false);
    await lease.release();
  });

  test("that cannot be renewed ends for its holder before another gets it", async () => {
    const etcd = await start();
    const relay = await startRelay(etcd.endpoints[0] ?? "");
    cleanups.push(relay.close);
    const holder = open([relay.url]);
    const other = open(etcd.endpoints);
    const lease = await holder.lease("leader", { value: bytes("holder"), ttlMs });
    await sleep(1000);
    await relay.cut();
    const begin = performance.now();
    const taken = await untilTaken(other, "leader", ttlMs);
    expect(lease?.signal.aborted).toBe(true);
    expect(lease?.signal.reason).toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(performance.now() - begin).toBeLessThan(ttlMs + 2000);
    await taken.release();
  });

  test("that etcd has ended is told to its holder at the next renewal", async () => {
    const etcd = await start();
    const store = open(etcd.endpoints);
    const lease = await store.lease("leader", { value: bytes("me"), ttlMs });
    const lost = new Promise<void>((resolve) => {
      lease?.signal.addEventListener("abort", () => resolve());
    });
    const { leases } = (await etcd.ask("lease/leases", {})) as { leases: { ID: string }[] };
    await etcd.ask("lease/revoke", { ID: leases[0]?.ID });
    await lost;
    expect(lease?.signal.reason.message).toContain("etcd has ended it");
  });

  test("outlives a kill -9 and restart of etcd", async () => {
    const etcd = await start();
    const store = open(etcd.endpoints);
    const lease = await store.lease("leader", { value: bytes("me"), ttlMs: 5000 });
    await etcd.kill();
    await sleep(1500);
    await etcd.start();
    await sleep(5500);
    expect(lease?.signal.aborted).toBe(false);
    expect(await open(etcd.endpoints).lease("leader", { value: bytes("x") })).toBeUndefined();
    await lease?.release();
    expect(await store.get("leader")).toBeUndefined();
  });
});

/** Asks for a lease until it is had. */
async function untilTaken(store: MetaStore, key: string, ttlMs: number) {
  for (;;) {
    const lease = await store.lease(key, { value: bytes("me"), ttlMs });
    if (lease !== undefined) return lease;
    await sleep(20);
  }
}

describe("with users", () => {
  const password = "not-to-be-shown";

  /** Root, and a user who may do all under `mine/`. */
  async function startWithUsers(): Promise<EtcdServer> {
    const etcd = await start();
    const key = (name: string): string => Buffer.from(name).toString("base64");
    for (const name of ["root", "millrace"]) {
      await etcd.ask("auth/user/add", { name, password });
      await etcd.ask("auth/role/add", { name });
      await etcd.ask("auth/user/grant", { user: name, role: name });
    }
    await etcd.ask("auth/role/grant", {
      name: "millrace",
      perm: { permType: "READWRITE", key: key("mine/"), range_end: key("mine0") },
    });
    await etcd.ask("auth/enable", {});
    return etcd;
  }

  test("calls, watches and leases go on when a restart makes the token invalid", async () => {
    const etcd = await startWithUsers();
    const credentials = { name: "millrace", password };
    const store = open(etcd.endpoints, { credentials, prefix: "mine" });
    const watched = follow(store, "");
    const lease = await store.lease("leader", { value: bytes("me"), ttlMs: 5000 });
    await store.put("key", bytes("1"));
    await watched.until((state) => state.get("key") === "1");
    await etcd.kill();
    await etcd.start();
    await store.put("key", bytes("2"));
    await watched.until((state) => state.get("key") === "2");
    await sleep(5500);
    expect(lease?.signal.aborted).toBe(false);
    await watched.stop();
  });

  test("says what is wrong, without telling the password", async () => {
    const etcd = await startWithUsers();
    const failure = async (extra: Partial<EtcdMetaStoreOptions>): Promise<MillraceError> => {
      const store = open(etcd.endpoints, { prefix: "mine", ...extra });
      const error = MillraceError.from(await store.get("key").catch((cause) => cause));
      await expect(store.put("key", bytes("x"))).rejects.toMatchObject({ code: error.code });
      const watched = follow(store, "");
      await expect(watched.until(() => false)).rejects.toMatchObject({ code: error.code });
      expect(error.retryable).toBe(false);
      expect(error.message).not.toContain(password);
      return error;
    };
    const none = await failure({});
    expect(none.code).toBe("UNAUTHENTICATED");
    expect(none.message).toContain("give a name and a password");
    const wrong = await failure({ credentials: { name: "millrace", password: `${password}!` } });
    expect(wrong.code).toBe("UNAUTHENTICATED");
    const credentials = { name: "millrace", password };
    const elsewhere = await failure({ credentials, prefix: "other" });
    expect(elsewhere.code).toBe("PERMISSION_DENIED");
  });

  test("a user is no hindrance where there are none", async () => {
    const etcd = await start();
    const store = open(etcd.endpoints, { credentials: { name: "millrace", password } });
    await store.put("key", bytes("1"));
    expect(text((await store.get("key"))?.value)).toBe("1");
  });
});

test("TLS is trusted if the runtime knows the authority", async () => {
  const etcd = await start({ tls: true });
  const { endpoints: [endpoint = ""] = [], caFile = "" } = etcd.tls ?? {};
  const script = "etcd-child.node.ts";
  const args = ["roundtrip", endpoint, "tls"];
  const trusting = startChild(args, { script, env: { NODE_EXTRA_CA_CERTS: caFile } });
  cleanups.push(trusting.kill);
  expect(await trusting.line()).toBe("told put");
  const wary = startChild(args, { script });
  cleanups.push(wary.kill);
  expect(await wary.line()).toMatch(/UNAVAILABLE .*self-signed certificate/);
});

test("clusters with prefixes of their own do not see each other", async () => {
  const etcd = await start();
  const [one, two] = [
    open(etcd.endpoints, { prefix: "one" }),
    open(etcd.endpoints, { prefix: "two" }),
  ];
  const watched = follow(one, "");
  await two.put("key", bytes("2"));
  await one.put("key", bytes("1"));
  expect(await one.lease("leader", { value: bytes("1") })).toBeDefined();
  expect(await two.lease("leader", { value: bytes("2") })).toBeDefined();
  expect((await one.list("")).map(({ value }) => text(value))).toEqual(["1", "1"]);
  await watched.until((state) => state.size === 2);
  expect(watched.told.filter((line) => line.includes("2"))).toEqual([]);
  await watched.stop();
});
