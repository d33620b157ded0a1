import type { MillraceError } from "@millrace/types";
import { systemClock } from "@millrace/types/node";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { describe, expect, test } from "vitest";
import { describeMetaStore } from "../src/conformance.ts";
import { encodeBase64 } from "../src/meta/etcd/base64.ts";
import { encodeRecord } from "../src/meta/record.ts";
import { createEtcdMetaStore, type EtcdMetaStoreOptions, type MetaStore } from "../src/mod.ts";
import { createFakeEtcd, type FakeEtcd, type FakeRequest, refusal } from "./fake-etcd.ts";
import { follow } from "./follow.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string => new TextDecoder().decode(data);

function setup() {
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
function recordOf(value: string): Uint8Array {
  return encodeRecord({ nonce: new Uint8Array(16), ttlMs: 0, value: bytes(value) });
}

/** Lets what does not wait for time come to rest. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Advances while a promise is pending. */
async function whilePassing<T>(
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
function loseNextAnswer(fake: FakeEtcd, then: () => void = () => undefined): void {
  let isLost = false;
  fake.intercept = (request, answer) => {
    const response = answer();
    if (isLost || request.path !== "kv/txn") return response;
    isLost = true;
    then();
    throw new TypeError("the connection broke");
  };
}

async function untilAborted({ signal }: FakeRequest): Promise<never> {
  return await new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

describeMetaStore("etcd, simulated", {
  open: async () => {
    const { open } = setup();
    const store = open({ pageSize: 2, clock: systemClock });
    const other = open({ clock: systemClock });
    return {
      store,
      other,
      async close() {
        await store.close();
        await other.close();
      },
    };
  },
});

describe("a write to etcd whose answer was lost", () => {
  test("succeeds if it is what is there", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    loseNextAnswer(fake);
    const first = await whilePassing(clock, store.put("key", bytes("1"), { expected: null }));
    loseNextAnswer(fake);
    const second = await whilePassing(clock, store.put("key", bytes("2"), { expected: first }));
    expect(await store.get("key")).toEqual({ key: "key", value: bytes("2"), revision: second });
    loseNextAnswer(fake);
    await whilePassing(clock, store.delete("key", { expected: second }));
    expect(await store.get("key")).toBeUndefined();
    loseNextAnswer(fake);
    await whilePassing(clock, store.put("key", bytes("3")));
    loseNextAnswer(fake);
    await whilePassing(clock, store.delete("key"));
    expect(fake.requests.filter(({ path }) => path === "kv/txn")).toHaveLength(10);
    await store.close();
  });

  test("succeeds if others have written over it since, or deleted it", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    const other = open();
    for (const before of [null, await store.put("key", bytes("0"))]) {
      if (before === null) await store.delete("key");
      const expected = before === null ? null : await store.put("key", bytes("0"));
      const late: Promise<unknown>[] = [];
      loseNextAnswer(fake, () => {
        fake.put("elsewhere", bytes("x"));
        late.push(other.put("key", bytes("other")));
      });
      const revision = await whilePassing(clock, store.put("key", bytes("mine"), { expected }));
      await Promise.all(late);
      const found = await store.get("key");
      expect(text(found?.value)).toBe("other");
      expect(Number(revision)).toBeLessThan(Number(found?.revision));
    }
    const expected = await store.put("key", bytes("0"));
    const deleted: Promise<unknown>[] = [];
    loseNextAnswer(fake, () => deleted.push(other.delete("key")));
    await whilePassing(clock, store.put("key", bytes("mine"), { expected }));
    await Promise.all(deleted);
    expect(await store.get("key")).toBeUndefined();
    await Promise.all([store.close(), other.close()]);
  });

  test("is refused if another was first", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    const other = open();
    const expected = await store.put("key", bytes("0"));
    fake.intercept = async (request, answer) => {
      if (request.path !== "kv/txn") return answer();
      fake.intercept = (_request, proceed) => proceed();
      for (let i = 0; i < 20; i++) await other.put("key", bytes("same"));
      throw new TypeError("the request did not arrive");
    };
    const put = whilePassing(clock, store.put("key", bytes("same"), { expected }));
    const current = (await whilePassing(
      clock,
      put.catch((error) => error),
    )) as MillraceError;
    expect(current).toMatchObject({ code: "PRECONDITION_FAILED", maybeApplied: false });
    expect(current.expected).toBe((await store.get("key"))?.revision);
    await Promise.all([store.close(), other.close()]);
  });

  test("says that it may have been applied if nobody can tell any more", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    const other = open();
    const expected = await store.put("key", bytes("0"));
    const late: Promise<unknown>[] = [];
    loseNextAnswer(fake, () => {
      const writing = other.put("key", bytes("1")).then(() => other.put("key", bytes("2")));
      late.push(writing.then(() => fake.compact()));
    });
    const put = whilePassing(clock, store.put("key", bytes("mine"), { expected }));
    const unknown = { code: "PRECONDITION_FAILED", maybeApplied: true };
    await expect(put).rejects.toMatchObject(unknown);
    await Promise.all(late);

    // Created, and deleted again before the second attempt.
    await store.delete("key");
    loseNextAnswer(fake, () =>
      late.push(other.delete("key").then(() => other.put("key", bytes("x")))),
    );
    const creation = whilePassing(clock, store.put("key", bytes("mine"), { expected: null }));
    await expect(creation).rejects.toMatchObject(unknown);
    await Promise.all([...late, store.close(), other.close()]);
  });

  test("says so if etcd stays away", async () => {
    const { fake, open, clock } = setup();
    const store = open({ callTimeoutMs: 1000 });
    fake.intercept = () => Promise.reject(new TypeError("refused"));
    const put = whilePassing(clock, store.put("key", bytes("x"), { expected: null }));
    await expect(put).rejects.toMatchObject({
      code: "UNAVAILABLE",
      retryable: true,
      maybeApplied: true,
      message:
        "etcd://one:2379/meta: cannot write key: no answer; check that etcd runs and can be reached (refused)",
    });
    const get = whilePassing(clock, store.get("key"));
    await expect(get).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: false });
    expect(clock.pending).toBe(0);
    await store.close();
  });
});

describe("a listing of etcd", () => {
  test("is of one moment, also if that is compacted between two pages", async () => {
    const { fake, open } = setup();
    const store = open({ pageSize: 2 });
    for (let i = 0; i < 5; i++) await store.put(`k/${i}`, bytes("old"));
    let pages = 0;
    fake.intercept = async (request, answer) => {
      const response = answer();
      if (request.path !== "kv/range") return response;
      pages += 1;
      if (pages === 2 || pages === 4) {
        fake.delete("meta/k/0");
        if (pages === 2) fake.compact();
      }
      return response;
    };
    const listed = await store.list("k/");
    expect(listed.map(({ key }) => key)).toEqual(["k/1", "k/2", "k/3", "k/4"]);
    expect(pages).toBe(5);
    await store.close();
  });

  test("takes smaller pages if values are large", async () => {
    const { fake, open } = setup();
    const store = open();
    const large = recordOf("x".repeat(1024 * 1024));
    for (let i = 10; i < 64; i++) fake.put(`meta/k/${i}`, i < 26 ? recordOf("x") : large);
    expect(await store.list("k/")).toHaveLength(54);
    const limits = fake.requests.map(({ body }) => JSON.parse(body).limit);
    expect(limits.slice(0, 3)).toEqual([16, 64, 8]);
    await store.close();
  });
});

describe("a watch of etcd", () => {
  test("goes on after a break in the middle of a line or of a revision, and tells nothing twice", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    const watched = follow(store, "w/");
    await settle();
    await store.put("w/a", bytes("1"));
    for (let i = 3; i <= 9; i++) fake.put("meta/v", recordOf("1"));
    const event = (key: string, revision: number) => ({
      kv: { key: btoa(key), mod_revision: String(revision), value: encodeBase64(recordOf("1")) },
    });
    const [first] = fake.watches;
    const result = { fragment: true, events: [event("meta/w/b", 9)] };
    first?.send(`${JSON.stringify({ result })}\n{"result":{"eve`);
    await settle();
    first?.fail();
    await settle();
    await clock.advance(1000);
    await settle();
    const [second] = fake.watches;
    const request = fake.requests.filter(({ path }) => path === "watch").at(-1);
    expect(JSON.parse(request?.body ?? "").create_request.start_revision).toBe(9);
    const again = { events: [event("meta/w/b", 9), event("meta/w/c", 9)] };
    second?.send(`${JSON.stringify({ result: again })}\n`);
    await watched.until((state) => state.has("w/c"));
    expect(watched.told).toEqual(["put w/a=1", "put w/b=1", "put w/c=1"]);
    await watched.stop();
    expect(clock.pending).toBe(0);
    await store.close();
  });

  test("is asked for anew from time to time, so that a dead connection does not hold it up", async () => {
    const { fake, open, clock } = setup();
    const store = open({ watchRenewMs: 10_000 });
    const watched = follow(store, "w/");
    await settle();
    let isDead = true;
    fake.intercept = (request, answer) =>
      request.path === "watch" && isDead ? untilAborted(request) : answer();
    await clock.advance(10_000);
    await settle();
    fake.put("meta/w/a", recordOf("1"));
    isDead = false;
    // The one that is asked for now gets no answer within its time.
    await clock.advance(4000);
    await settle();
    await watched.until((state) => state.get("w/a") === "1");
    await watched.stop();
    expect(clock.pending).toBe(0);
    await store.close();
  });

  test("lists again when the store was set back", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    await store.put("w/a", bytes("1"));
    await store.put("w/b", bytes("1"));
    const watched = follow(store, "w/");
    await watched.until((state) => state.size === 2);
    fake.reset();
    fake.put("meta/w/b", recordOf("older"));
    for (const watch of fake.watches) watch.fail();
    await settle();
    await clock.advance(1000);
    await settle();
    await clock.advance(1000);
    await settle();
    expect([...watched.state]).toEqual([["w/b", "older"]]);
    await watched.stop();
    await store.close();
  });

  test("lists again when an event is too large to be taken", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    const watched = follow(store, "w/");
    await settle();
    const [watch] = fake.watches;
    watch?.send("x".repeat(17 * 1024 * 1024));
    await settle();
    await store.put("w/a", bytes("1"));
    await clock.advance(1000);
    await settle();
    expect(watched.state.get("w/a")).toBe("1");
    await watched.stop();
    await store.close();
  });

  test.each([
    [{ canceled: true, cancel_reason: "etcdserver: no leader" }, undefined],
    [{ canceled: true }, undefined],
    [{ canceled: true, cancel_reason: "etcdserver: permission denied" }, "PERMISSION_DENIED"],
  ])("that is ended with %j goes on or fails", async (fields, code) => {
    const { fake, open, clock } = setup();
    const store = open();
    const watched = follow(store, "w/");
    await settle();
    const [watch] = fake.watches;
    watch?.send(`${JSON.stringify({ result: fields })}\n`);
    await settle();
    await clock.advance(1000);
    await settle();
    if (code === undefined) {
      await store.put("w/a", bytes("1"));
      await watched.until((state) => state.has("w/a"));
      await watched.stop();
    } else {
      await expect(watched.stop()).rejects.toMatchObject({ code, retryable: false });
    }
    expect(clock.pending).toBe(0);
    await store.close();
  });

  test.each([
    { error: { code: 14, message: "etcdserver: server stopped" } },
    { error: { grpc_code: 14, http_code: 503, message: "etcdserver: server stopped" } },
  ])("goes on after the error %j in its stream", async (line) => {
    const { fake, open, clock } = setup();
    const store = open();
    const watched = follow(store, "w/");
    await settle();
    const [watch] = fake.watches;
    watch?.send(`${JSON.stringify(line)}\n`);
    await settle();
    await clock.advance(1000);
    await store.put("w/a", bytes("1"));
    await watched.until((state) => state.has("w/a"));
    await watched.stop();
    await store.close();
  });

  test("holds nothing when it is ended by someone who waits for no event", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    const stop = new AbortController();
    const events = store.watch("w/", { signal: stop.signal })[Symbol.asyncIterator]();
    await Promise.all([events.next(), settle().then(() => store.put("w/a", bytes("1")))]);
    expect([fake.watches.size, clock.pending]).toEqual([1, 1]);
    stop.abort();
    expect([fake.watches.size, clock.pending]).toEqual([0, 0]);
    expect(await events.next()).toMatchObject({ done: true });
    await store.close();
  });

  test("that cannot begin fails", async () => {
    const { fake, open, clock } = setup();
    const store = open({ callTimeoutMs: 1000 });
    fake.intercept = () => Promise.reject(new TypeError("refused"));
    const watched = follow(store, "w/");
    await whilePassing(
      clock,
      watched.until(() => false).catch(() => undefined),
    );
    await expect(watched.stop()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await store.close();
  });

  test("fails when what it finds is damaged", async () => {
    const { fake, open } = setup();
    const store = open();
    const watched = follow(store, "w/");
    await settle();
    fake.put("meta/w/bad", bytes("not a record of this store"));
    await expect(watched.until(() => false)).rejects.toMatchObject({ code: "DATA_LOSS" });
    await expect(store.list("w/")).rejects.toMatchObject({ code: "DATA_LOSS" });
    await store.close();
  });
});

describe("a lease of etcd", () => {
  const ttlMs = 6000;
  const taking = async (extra: Partial<EtcdMetaStoreOptions> = {}) => {
    const { fake, open, clock } = setup();
    const store = open(extra);
    const lease = await store.lease("leader", { value: bytes("me"), ttlMs });
    if (lease === undefined) throw new Error("it was not given");
    return { fake, open, clock, store, lease };
  };

  test("holds as long as it is renewed, whatever the wall clock does", async () => {
    const { clock, lease, store } = await taking();
    for (let i = 0; i < 20; i++) {
      clock.jump(i % 2 ? 3_600_000 : -3_600_000);
      await clock.advance(1000);
      await settle();
    }
    expect(lease.signal.aborted).toBe(false);
    await store.close();
    expect(clock.pending).toBe(0);
  });

  test.each(["hangs", "is refused"])("is lost in time when renewing %s", async (how) => {
    const { clock, fake, lease, store } = await taking();
    fake.intercept = (request) =>
      how === "hangs" ? untilAborted(request) : Promise.reject(new TypeError("refused"));
    for (let i = 0; i < 53; i++) {
      await clock.advance(100);
      await settle();
    }
    expect(lease.signal.aborted).toBe(false);
    await clock.advance(100);
    expect(lease.signal.aborted).toBe(true);
    expect(lease.signal.reason).toMatchObject({ code: "PRECONDITION_FAILED" });
    await store.close();
    expect(clock.pending).toBe(0);
  });

  test("survives a member that hangs, by another", async () => {
    const { clock, fake, lease, store } = await taking({
      endpoints: ["http://one:2379", "http://two:2379"],
    });
    fake.intercept = (request, answer) =>
      request.host === "one:2379" ? untilAborted(request) : answer();
    for (let i = 0; i < 200; i++) {
      await clock.advance(100);
      await settle();
    }
    expect(lease.signal.aborted).toBe(false);
    await store.close();
  });

  test.each<[string, (fake: FakeEtcd) => void, string]>([
    ["etcd ends it", (fake) => fake.expire("1"), "etcd has ended it"],
    ["another writes over it", (fake) => fake.put("meta/leader", bytes("x")), "written over it"],
    ["another deletes it", (fake) => fake.delete("meta/leader"), "written over it"],
  ])("is lost at the next renewal when %s", async (_name, change, why) => {
    const { clock, fake, lease, store } = await taking();
    change(fake);
    await clock.advance(ttlMs / 3);
    await settle();
    expect(lease.signal.aborted).toBe(true);
    expect(lease.signal.reason.message).toContain(why);
    await lease.release();
    await store.close();
    expect(clock.pending).toBe(0);
  });

  test("outlives errors in the stream of its renewals", async () => {
    const { clock, fake, lease, store } = await taking();
    let failures = 0;
    fake.intercept = (request, answer) => {
      failures += 1;
      const isRenewal = request.path === "lease/keepalive" && failures % 4 !== 0;
      const error = { grpc_code: 14, http_code: 503, message: "etcdserver: no leader" };
      return isRenewal ? Response.json({ error }) : answer();
    };
    for (let i = 0; i < 100; i++) {
      await clock.advance(100);
      await settle();
    }
    expect(lease.signal.aborted).toBe(false);
    await store.close();
  });

  test("is had although the answer was lost", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    loseNextAnswer(fake);
    const lease = await whilePassing(clock, store.lease("leader", { value: bytes("me") }));
    expect(lease?.signal.aborted).toBe(false);
    await lease?.release();
    expect(await store.get("leader")).toBeUndefined();
    expect(fake.leases.size).toBe(0);
    await store.close();
  });

  test("that another got first is not left behind", async () => {
    const { fake, open } = setup();
    const [store, other] = [open(), open()];
    const leases = await Promise.all(
      [store, other].map((one) => one.lease("leader", { value: bytes("x") })),
    );
    expect(leases.filter((lease) => lease !== undefined)).toHaveLength(1);
    await settle();
    expect(fake.leases.size).toBe(1);
    await Promise.all([store.close(), other.close()]);
  });

  test("that took longer to take than it holds is not given out", async () => {
    const { fake, open, clock } = setup();
    const store = open({ requestTimeoutMs: 20_000, callTimeoutMs: 20_000 });
    fake.intercept = async (request, answer) => {
      if (request.path === "kv/txn") await new Promise<void>((done) => clock.schedule(6000, done));
      return answer();
    };
    const asking = whilePassing(clock, store.lease("leader", { value: bytes("me"), ttlMs }));
    await expect(asking).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await store.close();
  });
});

describe("a user of etcd", () => {
  /** Tokens are `t1`, `t2` and so on; only the latest is valid. */
  function withUsers(fake: FakeEtcd) {
    const users = { tokens: 0, valid: "", says: "etcdserver: invalid auth token" };
    fake.intercept = (request, answer) => {
      if (request.path === "auth/authenticate") {
        users.tokens += 1;
        users.valid = `t${users.tokens}`;
        return Response.json({ token: users.valid });
      }
      const code = users.says.includes("invalid") ? 16 : 3;
      return request.token === users.valid ? answer() : refusal(401, code, users.says);
    };
    return users;
  }
  const credentials = { name: "millrace", password: "secret" };

  test("gets one token for all calls, and another when it has become invalid", async () => {
    const { fake, open } = setup();
    const users = withUsers(fake);
    const store = open({ credentials });
    await Promise.all(Array.from({ length: 10 }, (_, i) => store.put(`k/${i}`, bytes("x"))));
    expect(users.tokens).toBe(1);
    for (const says of [
      "etcdserver: invalid auth token",
      "etcdserver: revision of auth store is old",
    ]) {
      Object.assign(users, { valid: "none", says });
      const before = users.tokens;
      await Promise.all(Array.from({ length: 10 }, (_, i) => store.get(`k/${i}`)));
      expect(users.tokens).toBe(before + 1);
    }
    await store.close();
  });

  test("is told of a password that is wrong, or cannot be had, without waiting", async () => {
    const { fake, open } = setup();
    fake.intercept = () =>
      refusal(400, 3, "etcdserver: authentication failed, invalid user ID or password");
    const store = open({ credentials });
    await expect(store.get("key")).rejects.toMatchObject({
      code: "UNAUTHENTICATED",
      retryable: false,
    });
    const unknown = open({ credentials: () => Promise.reject(new Error("the vault is closed")) });
    await expect(unknown.get("key")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    await Promise.all([store.close(), unknown.close()]);
  });

  test("waits for a token no longer than for an answer, and tries again", async () => {
    const { fake, open, clock } = setup();
    const users = withUsers(fake);
    const { intercept } = fake;
    fake.intercept = (request, answer) => {
      if (request.path !== "auth/authenticate") return intercept(request, answer);
      fake.intercept = intercept;
      return untilAborted(request);
    };
    const store = open({ credentials });
    expect(await whilePassing(clock, store.get("key"))).toBeUndefined();
    expect(users.tokens).toBe(1);
    await store.close();
  });
});

describe("members of an etcd", () => {
  const endpoints = ["http://one:2379", "https://two:2379/base/", "http://three:2379"];

  test.each<[string, () => Response | Promise<Response>]>([
    ["no answer", () => Promise.reject(new TypeError("refused"))],
    ["no leader", () => refusal(503, 14, "etcdserver: no leader")],
    ["a page of a proxy", () => new Response("<html>", { status: 502 })],
    ["an answer that is cut", () => new Response('{"header":{"revi')],
    ["too many requests", () => refusal(429, 8, "etcdserver: too many requests")],
  ])("are asked in turn while there is %s", async (_name, fault) => {
    const { fake, open, clock } = setup();
    const store = open({ endpoints });
    const faulty = new Set(["one:2379", "two:2379"]);
    fake.intercept = (request, answer) => (faulty.has(request.host) ? fault() : answer());
    expect(await store.get("key")).toBeUndefined();
    expect(fake.requests.map(({ host }) => host)).toEqual(["one:2379", "two:2379", "three:2379"]);
    await store.get("key");
    expect(fake.requests.at(-1)?.host).toBe("three:2379");
    // It stays with the one that answers, until that fails.
    faulty.clear();
    faulty.add("three:2379");
    await store.get("key");
    expect(fake.requests.at(-1)?.host).toBe("one:2379");
    expect(clock.pending).toBe(0);
    await store.close();
  });

  test.each<[number, number, string, string]>([
    [400, 8, "etcdserver: mvcc: database space exceeded", "RESOURCE_EXHAUSTED"],
    [400, 3, "etcdserver: request is too large", "INVALID_ARGUMENT"],
    [403, 7, "etcdserver: permission denied", "PERMISSION_DENIED"],
  ])("are not asked again when one says %i %i %s", async (status, code, message, expected) => {
    const { fake, open } = setup();
    const store = open({ endpoints });
    fake.intercept = (request, answer) =>
      request.path === "kv/txn" ? refusal(status, code, message) : answer();
    const put = store.put("key", bytes("x"), { expected: null });
    await expect(put).rejects.toMatchObject({
      code: expected,
      retryable: false,
      maybeApplied: false,
    });
    expect(fake.requests).toHaveLength(1);
    await store.close();
  });

  test.each([404, 302, 405])("that are none are recognised by the status %i", async (status) => {
    const { fake, open } = setup();
    const store = open();
    fake.intercept = () => new Response("", { status });
    await expect(store.get("key")).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining("not the JSON gateway of an etcd from 3.4 on"),
    });
    await store.close();
  });

  test("are left alone when the caller or the store ends the call", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    fake.intercept = untilAborted;
    const stop = new AbortController();
    const get = store.get("key", { signal: stop.signal });
    const put = store.put("key", bytes("x"), { expected: null });
    await settle();
    stop.abort(new Error("enough"));
    await expect(get).rejects.toThrow("enough");
    const closed = expect(put).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
    await store.close();
    await closed;
    expect(clock.pending).toBe(0);
  });
});

test.each<[Partial<EtcdMetaStoreOptions>, string]>([
  [{ endpoints: [] }, "endpoints"],
  [{ endpoints: ["http://ok:1", "nonsense"] }, "endpoints[1]"],
  [{ endpoints: ["ftp://host"] }, "endpoints[0]"],
  [{ endpoints: ["http://user:secret@host"] }, "endpoints[0]"],
  [{ prefix: "a//b" }, "prefix"],
  [{ prefix: "" }, "prefix"],
  [{ prefix: "x".repeat(81) }, "prefix"],
  [{ requestTimeoutMs: 1 }, "requestTimeoutMs"],
  [{ callTimeoutMs: Number.NaN }, "callTimeoutMs"],
  [{ watchRenewMs: 10 }, "watchRenewMs"],
  [{ pageSize: 0 }, "pageSize"],
])("%j is refused", (extra, field) => {
  const { open } = setup();
  expect(() => open(extra)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", field }));
});
