import { describe, expect, test } from "vitest";
import type { EtcdMetaStoreOptions } from "../src/mod.ts";
import { bytes, settle, setup, untilAborted, whilePassing } from "./etcd-setup.ts";
import { type FakeEtcd, refusal } from "./fake-etcd.ts";

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
    const closed = expect(put).rejects.toMatchObject({ code: "ON_SHUTDOWN", maybeApplied: true });
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
