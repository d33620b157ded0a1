import { type Tick, tickFromMs } from "@millrace/types";
import { createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import {
  createMemoryBackend,
  type Delivery,
  type OpenWalOptions,
  openWal,
  type Wal,
} from "../src/mod.ts";
import { createGatedBackend, creation, ending, settle, text } from "./helpers.ts";

const decoder = new TextDecoder();

/** Ticks that follow a time that the test sets. */
function timedTicks() {
  let next: Tick = 1n;
  const ticks = {
    ms: 1,
    take(count: number, after: Tick = 0n) {
      const time = tickFromMs(ticks.ms);
      for (const least of [time, after + 1n]) if (least > next) next = least;
      const first = next;
      next += BigInt(count);
      return { first, count };
    },
  };
  return ticks;
}

async function open(options: Partial<OpenWalOptions> = {}) {
  const backend = options.backend ?? createMemoryBackend();
  const ticks = timedTicks();
  const wal = await openWal({
    backend,
    pchannel: "p",
    term: 1,
    ticks,
    vchannels: "any",
    ...options,
  });
  return { backend, ticks, wal };
}

/** What counts so far, as texts, delivery by delivery. */
async function deliveries(wal: Wal, from = wal.bounds().first): Promise<Delivery[]> {
  const reading = new AbortController();
  const all: Delivery[] = [];
  await wal.append([text("end", "v", 1000)]);
  for await (const delivery of wal.read({ from: { sequence: from }, signal: reading.signal })) {
    if (delivery.messages[0]?.type === 1000) break;
    all.push(delivery);
  }
  return all;
}

async function texts(wal: Wal): Promise<string[][]> {
  return (await deliveries(wal)).map(({ messages }) =>
    messages.map(({ payload }) => decoder.decode(payload)),
  );
}

test("what is appended to a transaction counts at its commit, all at once", async () => {
  const { wal } = await open();
  const { txn } = await wal.begin({ vchannel: "v" });
  await wal.append([text("a"), text("b")], { txn });
  await wal.append([text("outside")]);
  await wal.append([text("c")], { txn });
  const committed = await wal.commit(txn);
  const [outside, whole, ...others] = await deliveries(wal);
  expect(others).toEqual([]);
  expect(outside?.messages).toHaveLength(1);
  expect(whole?.messages.map(({ payload }) => decoder.decode(payload))).toEqual(["a", "b", "c"]);
  expect(whole?.tick).toBe(committed.lastTick);
  expect(whole?.id).toEqual(committed.id);
});

test("what is rolled back never counts, and a second rollback changes nothing", async () => {
  const { wal } = await open();
  const { txn } = await wal.begin({ vchannel: "v" });
  await wal.append([text("a")], { txn });
  await wal.rollback(txn);
  await wal.rollback(txn);
  await expect(wal.append([text("b")], { txn })).rejects.toMatchObject({
    code: "TRANSACTION_EXPIRED",
    retryable: false,
  });
  await expect(wal.commit(txn)).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
  expect(await texts(wal)).toEqual([]);
  expect(wal.status().openTxns).toBe(0);
});

test("a transaction that was rolled back may be begun again with the same key", async () => {
  const { backend, wal } = await open();
  const begin = { vchannel: "v", idempotencyKey: "k" };
  const first = await wal.begin(begin);
  expect((await wal.begin(begin)).txn).toBe(first.txn);
  await wal.rollback(first.txn);
  const second = await wal.begin(begin);
  expect(second.txn).not.toBe(first.txn);
  await wal.append([text("", "v", 9)]);
  const third = await wal.begin(begin);
  expect(third.txn).not.toBe(second.txn);
  const { wal: next } = await open({ backend, term: 2, snapshot: wal.snapshot() });
  expect((await next.begin(begin)).txn).toBe(third.txn);
  await next.rollback(third.txn);
  expect((await next.begin(begin)).duplicate).toBe(false);
});

test("a second commit answers what the first did, also at the next owner", async () => {
  const { backend, wal } = await open();
  const { txn } = await wal.begin({ vchannel: "v" });
  await wal.append([text("a")], { txn });
  const [first, second] = await Promise.all([wal.commit(txn), wal.commit(txn)]);
  expect(second).toEqual({ ...first, duplicate: true });
  await expect(wal.rollback(txn)).rejects.toMatchObject({ code: "INVALID_TRANSACTION_STATE" });
  for (const snapshot of [undefined, wal.snapshot()]) {
    const term = snapshot ? 3 : 2;
    const { wal: next } = await open({ backend, term, snapshot });
    expect((await next.commit(txn)).id).toEqual(first.id);
  }
});

test("a commit waits for appends on their way, and those that come later are refused", async () => {
  const backend = createGatedBackend();
  const { wal } = await open({ backend });
  const begun = wal.begin({ vchannel: "v" });
  await settle();
  backend.release();
  const { txn } = await begun;
  const body = wal.append([text("a")], { txn });
  const committed = wal.commit(txn);
  await expect(wal.append([text("late")], { txn })).rejects.toMatchObject({
    code: "INVALID_TRANSACTION_STATE",
  });
  backend.openGate();
  expect((await committed).id.sequence).toBeGreaterThan((await body).id.sequence);
  expect(await texts(wal)).toEqual([["a"]]);
});

test("a transaction that rests for longer than its lease in ticks is rolled back", async () => {
  const { wal, ticks } = await open();
  const { txn } = await wal.begin({ vchannel: "v", leaseMs: 50 });
  await wal.append([text("a")], { txn });
  ticks.ms = 40;
  await wal.append([text("b")], { txn });
  // Its lease begins anew with each append.
  ticks.ms = 80;
  await wal.append([text("other")]);
  expect(wal.status().openTxns).toBe(1);
  ticks.ms = 91;
  await wal.append([text("other")]);
  await settle();
  expect(wal.status().openTxns).toBe(0);
  await expect(wal.commit(txn)).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
  expect(await texts(wal)).toEqual([["other"], ["other"]]);
});

test("leases run out on a log at rest, too", async () => {
  const clock = createVirtualClock();
  const { wal, ticks } = await open({ clock });
  await wal.begin({ vchannel: "v", leaseMs: 100 });
  ticks.ms = 101;
  await clock.advance(200);
  await clock.advance(200);
  await settle();
  expect(wal.status().openTxns).toBe(0);
  await wal.close();
});

test("the next owner carries on what is open, from the log and from a snapshot", async () => {
  const { backend, wal } = await open();
  const { txn } = await wal.begin({ vchannel: "v", idempotencyKey: "begin" });
  await wal.append([text("a")], { txn, idempotencyKey: "a" });
  const snapshot = wal.snapshot();
  await wal.append([text("b")], { txn });
  const { wal: second } = await open({ backend, term: 2 });
  expect((await second.begin({ vchannel: "v", idempotencyKey: "begin" })).txn).toBe(txn);
  expect((await second.append([text("a")], { txn, idempotencyKey: "a" })).duplicate).toBe(true);
  await second.append([text("c")], { txn });
  const { wal: third } = await open({ backend, term: 3, snapshot });
  await third.commit(txn);
  expect(await texts(third)).toEqual([["a", "b", "c"]]);
});

test("something exclusive ends the transactions of its vchannel before it, in the same batch", async () => {
  const { wal } = await open({ vchannels: "created" });
  for (const name of ["v", "w"]) await wal.append([creation(name)]);
  const [first, second, other] = await Promise.all([
    wal.begin({ vchannel: "v" }),
    wal.begin({ vchannel: "v" }),
    wal.begin({ vchannel: "w" }),
  ]);
  await wal.append([text("a")], { txn: first.txn });
  const flushed = await wal.append([text("", "v", 9)]);
  // Two rollbacks stand before it.
  expect(flushed.id.index).toBe(2);
  for (const { txn } of [first, second]) {
    await expect(wal.commit(txn)).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
  }
  await wal.append([text("b", "w")], { txn: other.txn });
  expect((await wal.commit(other.txn)).duplicate).toBe(false);
});

test("a commit that waits when something exclusive comes is refused, and nothing counts", async () => {
  const backend = createGatedBackend();
  const { wal } = await open({ backend });
  const begun = wal.begin({ vchannel: "v" });
  await settle();
  backend.release();
  const { txn } = await begun;
  const body = wal.append([text("a")], { txn });
  const committed = wal.commit(txn);
  const flushed = wal.append([text("", "v", 9)]);
  await settle();
  backend.openGate();
  await expect(committed).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
  await Promise.all([body, flushed]);
  expect((await texts(wal)).flat()).not.toContain("a");
});

test("open transactions are bounded in number and in bytes", async () => {
  const { wal } = await open({ maxOpenTxns: 2, maxOpenTxnBytes: 1000 });
  const { txn } = await wal.begin({ vchannel: "v" });
  const { txn: other } = await wal.begin({ vchannel: "v" });
  await expect(wal.begin({ vchannel: "v" })).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  await wal.append([text("a".repeat(600))], { txn });
  const much = wal.append([text("b".repeat(600))], { txn: other });
  await expect(much).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED", maybeApplied: false });
  await wal.commit(txn);
  await wal.append([text("b".repeat(600))], { txn: other });
});

test("truncation keeps what an open transaction needs, and an append says from where to go on", async () => {
  const { wal } = await open();
  await wal.append([text("before")]);
  const { txn, id } = await wal.begin({ vchannel: "v" });
  await wal.append([text("a")], { txn });
  const after = await wal.append([text("after")]);
  expect(after.lastConfirmed).toBe(id.sequence);
  await wal.truncate(wal.bounds().next);
  expect(wal.bounds().first).toBeLessThanOrEqual(id.sequence);
  const committed = await wal.commit(txn);
  expect(committed.lastConfirmed).toBe(committed.id.sequence);
  expect(await texts(wal)).toEqual([["after"], ["a"]]);
});

test("what cannot be done with a transaction is refused by name", async () => {
  const { wal } = await open();
  const { txn } = await wal.begin({ vchannel: "v" });
  const refused = (promise: Promise<unknown>, field: string) =>
    expect(promise).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
  await refused(wal.append([text("a", "w")], { txn }), "txn");
  await refused(wal.append([ending("v")], { txn }), "txn");
  await refused(wal.begin({ vchannel: "" }), "vchannel");
  await refused(wal.begin({ vchannel: "v", leaseMs: 600_001 }), "lease_ms");
  await refused(wal.append([text("", "v", 901)]), "messages[0].type");
  await expect(wal.append([text("a")], { txn: 12345n })).rejects.toMatchObject({
    code: "TRANSACTION_EXPIRED",
  });
});
