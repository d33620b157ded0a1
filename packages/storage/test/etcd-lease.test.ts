import { describe, expect, test } from "vitest";
import type { EtcdMetaStoreOptions } from "../src/mod.ts";
import { bytes, loseNextAnswer, settle, setup, untilAborted, whilePassing } from "./etcd-setup.ts";
import type { FakeEtcd } from "./fake-etcd.ts";

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
