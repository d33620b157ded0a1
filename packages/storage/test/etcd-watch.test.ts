import { describe, expect, test } from "vitest";
import { encodeBase64 } from "../src/meta/etcd/base64.ts";
import { bytes, recordOf, settle, setup, untilAborted, whilePassing } from "./etcd-setup.ts";
import { follow } from "./follow.ts";

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
    for (let i = 0; i < 3; i++) await store.put("v", bytes("1"));
    const watched = follow(store, "w/");
    await watched.until((state) => state.size === 2);
    fake.reset();
    // With the revision that its other value had.
    fake.put("meta/v", recordOf("1"));
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

  test("lists again when its place has been compacted, and tells the difference", async () => {
    const { fake, open, clock } = setup();
    const store = open();
    await store.put("w/gone", bytes("1"));
    await store.put("w/kept", bytes("1"));
    const watched = follow(store, "w/");
    await watched.until((state) => state.size === 2);
    await settle();
    fake.intercept = (request, answer) =>
      request.path === "watch" ? untilAborted(request) : answer();
    for (const watch of fake.watches) watch.fail();
    await clock.advance(1000);
    await settle();
    await store.delete("w/gone");
    await store.put("w/new", bytes("1"));
    fake.compact();
    fake.intercept = (_request, answer) => answer();
    await clock.advance(5000);
    await settle();
    expect(watched.told.slice(2)).toEqual(["put w/new=1", "delete w/gone"]);
    await watched.stop();
    expect(clock.pending).toBe(0);
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
    expect(fake.requests.filter(({ path }) => path === "kv/range")).toHaveLength(3);
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
