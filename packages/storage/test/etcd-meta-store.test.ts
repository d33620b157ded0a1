import type { MillraceError } from "@millrace/types";
import { systemClock } from "@millrace/types/node";
import { describe, expect, test } from "vitest";
import { describeMetaStore } from "../src/conformance.ts";
import { bytes, loseNextAnswer, recordOf, setup, text, whilePassing } from "./etcd-setup.ts";

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
    loseNextAnswer(fake, () => {
      const away = other.delete("key").then(() => {
        for (let i = 0; i < 5; i++) fake.put("elsewhere", bytes("x"));
      });
      deleted.push(away);
    });
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
