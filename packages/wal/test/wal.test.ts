import { MillraceError } from "@millrace/types";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  createMemoryBackend,
  type LogBackend,
  type OpenWalOptions,
  openWal,
  type Wal,
} from "../src/mod.ts";
import {
  countingTicks,
  createGatedBackend,
  creation,
  ending,
  readTexts,
  settle,
  text,
  textsOf,
} from "./helpers.ts";

const signal = new AbortController().signal;
const ticks = countingTicks();

function open(options: Partial<OpenWalOptions> = {}): Promise<Wal> {
  return openWal({
    backend: createMemoryBackend(),
    pchannel: "p",
    term: 1,
    ticks,
    vchannels: "any",
    ...options,
  });
}

test("appended messages are read in order, from the log and from the tail", async () => {
  const wal = await open();
  const scan = wal.scan({ from: "earliest", signal });
  const results = await Promise.all(["a", "b", "c"].map((payload) => wal.append([text(payload)])));
  expect(results.map(({ id }) => id)).toEqual([
    { sequence: 0, index: 0 },
    { sequence: 0, index: 1 },
    { sequence: 0, index: 2 },
  ]);
  const later = wal.append([text("d"), text("e")]);
  expect(await readTexts(scan, 5)).toEqual(["a", "b", "c", "d", "e"]);
  expect((await later).id).toEqual({ sequence: 1, index: 0 });
  await wal.close();
});

test("a second owner fences the first and sees all that it acknowledged", async () => {
  const backend = createMemoryBackend();
  const old = await open({ backend });
  await old.append([text("a")]);
  const current = await open({ backend, term: 2 });
  await expect(old.append([text("lost")])).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  expect(MillraceError.is(old.signal.reason, "CHANNEL_FENCED")).toBe(true);
  const { firstTick } = await current.append([text("b")]);
  expect(firstTick).toBeGreaterThan(1n);
  expect(await readTexts(current.scan({ from: "earliest", signal }), 2)).toEqual(["a", "b"]);
});

test("ticks of a new owner exceed those in the log, whatever the source says", async () => {
  const backend = createMemoryBackend();
  const old = await open({ backend });
  const { lastTick } = await old.append([text("a")], { barrier: 1_000_000n });
  const current = await open({ backend, term: 2, ticks: countingTicks() });
  expect(current.lastTick()).toBe(lastTick);
  expect((await current.append([text("b")])).firstTick).toBe(lastTick + 1n);
});

test("an append with a key is written once, also when both are on their way", async () => {
  const wal = await open();
  const append = () => wal.append([text("a"), text("b")], { idempotencyKey: "k" });
  const [first, second] = await Promise.all([append(), append()]);
  expect(first.duplicate).toBe(false);
  expect(second).toEqual({ ...first, duplicate: true });
  expect(await append()).toEqual({ ...first, duplicate: true });
  const elsewhere = await wal.append([text("a", "w")], { idempotencyKey: "k" });
  expect(elsewhere.duplicate).toBe(false);
  expect(wal.bounds().next).toBe(2);
});

test("keys are known to the next owner, from the log and from a snapshot", async () => {
  const backend = createMemoryBackend();
  const wal = await open({ backend });
  const first = await wal.append([text("a")], { idempotencyKey: "one" });
  const snapshot = wal.snapshot();
  const second = await wal.append([text("b"), text("c")], { idempotencyKey: "two" });
  for (const [term, known] of [[2, undefined] as const, [3, snapshot] as const]) {
    const next = await open({ backend, term, snapshot: known });
    const again = await next.append([text("a")], { idempotencyKey: "one" });
    expect(again).toEqual({ ...first, duplicate: true });
    const more = await next.append([text("x")], { idempotencyKey: "two" });
    expect(more).toEqual({ ...second, duplicate: true });
    expect(next.snapshot().keys).toEqual(wal.snapshot().keys);
  }
});

test("a key whose append failed may be used again", async () => {
  let fails = true;
  const inner = countingTicks();
  const wal = await open({
    ticks: {
      take(count, after) {
        if (fails) throw new MillraceError("UNAVAILABLE", "away");
        return inner.take(count, after);
      },
    },
  });
  const append = () => wal.append([text("a")], { idempotencyKey: "k" });
  await expect(append()).rejects.toThrow("away");
  fails = false;
  expect((await append()).duplicate).toBe(false);
});

test("of the keys the oldest are forgotten", async () => {
  const wal = await open({ maxKeys: 2 });
  for (const idempotencyKey of ["1", "2", "3"]) await wal.append([text("a")], { idempotencyKey });
  expect(wal.snapshot().keys.map(({ key }) => key)).toEqual(["2", "3"]);
  expect((await wal.append([text("a")], { idempotencyKey: "3" })).duplicate).toBe(true);
  expect((await wal.append([text("a")], { idempotencyKey: "1" })).duplicate).toBe(false);
});

test("a vchannel is written between its creation and its end", async () => {
  const backend = createMemoryBackend();
  const wal = await open({ backend, vchannels: "created" });
  await expect(wal.append([text("a")])).rejects.toMatchObject({ code: "VCHANNEL_NOT_EXIST" });
  await wal.append([text("for all", "", 1000)]);

  const [created, twin] = await Promise.all([
    wal.append([creation("v", "header")]),
    wal.append([creation("v", "header")]),
  ]);
  expect(created.duplicate).toBe(false);
  expect(twin).toEqual({ ...created, duplicate: true });
  await wal.append([text("a")]);
  expect(await wal.append([creation("v")])).toEqual({ ...created, duplicate: true });
  expect(new TextDecoder().decode(wal.vchannels().get("v"))).toBe("header");

  const next = await open({ backend, vchannels: "created", term: 2 });
  expect(await next.append([creation("v")])).toEqual({ ...created, duplicate: true });
  expect(next.snapshot()).toEqual(wal.snapshot());
  const dropped = next.append([ending("v")]);
  await expect(next.append([text("late")])).rejects.toMatchObject({ code: "VCHANNEL_NOT_EXIST" });
  await dropped;
  expect([...next.vchannels().keys()]).toEqual([]);
  expect((await next.append([creation("v")])).duplicate).toBe(false);
  await next.append([text("a")]);
});

test("a snapshot stands for what was truncated", async () => {
  const backend = createMemoryBackend();
  const wal = await open({ backend, vchannels: "created" });
  await wal.append([creation("v")]);
  await wal.append([text("a")], { idempotencyKey: "k" });
  const snapshot = wal.snapshot();
  await wal.append([text("b")]);
  await wal.truncate(snapshot.sequence);
  expect(wal.bounds()).toEqual({ first: 2, next: 3 });

  const next = await open({ backend, vchannels: "created", term: 2, snapshot });
  expect(next.snapshot()).toEqual(wal.snapshot());
  expect((await next.append([text("a")], { idempotencyKey: "k" })).duplicate).toBe(true);
  await next.append([text("c")]);
  expect(await readTexts(next.scan({ from: "earliest", signal }), 2)).toEqual(["b", "c"]);

  await expect(open({ backend, vchannels: "created", term: 3 })).rejects.toMatchObject({
    code: "DATA_LOSS",
    expected: "0",
  });
  const beyond = { ...snapshot, sequence: 5 };
  await expect(open({ backend, term: 4, snapshot: beyond })).rejects.toMatchObject({
    code: "DATA_LOSS",
    expected: "5",
  });
});

test("a scan begins where it is told", async () => {
  const wal = await open();
  for (const payload of ["a", "b", "c"]) await wal.append([text(payload)]);
  expect(await readTexts(wal.scan({ from: { sequence: 1 }, signal }), 2)).toEqual(["b", "c"]);
  const latest = wal.scan({ from: "latest", signal });
  await wal.append([text("d")]);
  expect(await readTexts(latest, 1)).toEqual(["d"]);
  await wal.truncate(2);
  const truncated = wal.scan({ from: { sequence: 0 }, signal });
  // It is in the tail buffer still.
  expect(await readTexts(truncated, 1)).toEqual(["a"]);
  expect(() => wal.scan({ from: { sequence: 9 }, signal })).toThrow(
    expect.objectContaining({ code: "OUT_OF_RANGE", expected: "4" }),
  );
});

test("a scan of what was truncated says where the log begins", async () => {
  const wal = await open({ tailBytes: 0 });
  for (const payload of ["a", "b", "c"]) await wal.append([text(payload)]);
  await wal.truncate(2);
  const scan = readTexts(wal.scan({ from: { sequence: 0 }, signal }), 1);
  await expect(scan).rejects.toMatchObject({ code: "OUT_OF_RANGE", expected: "2" });
});

test("a scan of a vchannel has the batches with its messages and with those for all", async () => {
  const wal = await open();
  await wal.append([text("a", "v")]);
  await wal.append([text("b", "w")]);
  await wal.append([text("for all", "", 1000)]);
  await wal.append([text("c", "v")]);
  const scan = wal.scan({ from: "earliest", vchannel: "v", signal });
  expect(await readTexts(scan, 3)).toEqual(["a", "for all", "c"]);
});

test("readers of any speed see every batch once and in order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3000 }),
      fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 5 })), { maxLength: 30 }),
      async (tailBytes, steps) => {
        const wal = await open({ tailBytes });
        const total = steps.reduce((sum, [, count]) => sum + count, 0);
        const scan = wal.scan({ from: "earliest", signal })[Symbol.asyncIterator]();
        const read: string[] = [];
        let written = 0;
        for (const [reads, appends] of steps) {
          for (let i = 0; i < appends; i++) await wal.append([text(String(written++))]);
          for (let i = 0; i < reads && read.length < written; i++) {
            read.push(...textsOf((await scan.next()).value));
          }
        }
        while (read.length < total) read.push(...textsOf((await scan.next()).value));
        expect(read).toEqual(Array.from({ length: total }, (_, i) => String(i)));
        await wal.close();
        expect((await scan.next()).done).toBe(true);
      },
    ),
    { numRuns: 50 },
  );
});

test("a scan that waits ends with its signal or with the log", async () => {
  const wal = await open();
  const controller = new AbortController();
  const aborted = wal.scan({ from: "latest", signal: controller.signal })[Symbol.asyncIterator]();
  const closed = wal.scan({ from: "latest", signal })[Symbol.asyncIterator]();
  const ends = Promise.all([aborted.next(), closed.next()]);
  await settle();
  controller.abort();
  await wal.close();
  expect((await ends).map(({ done }) => done)).toEqual([true, true]);
});

test("a scan gives all that is durable before it tells of a failure", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend });
  const written = wal.append([text("a")]);
  await settle();
  backend.release();
  await written;
  const lost = wal.append([text("b")]);
  await settle();
  backend.release(new MillraceError("INNER", "the disk is broken"));
  await expect(lost).rejects.toMatchObject({ code: "INNER", maybeApplied: true });
  const scan = wal.scan({ from: "earliest", signal })[Symbol.asyncIterator]();
  expect(textsOf((await scan.next()).value)).toEqual(["a"]);
  await expect(scan.next()).rejects.toThrow("the disk is broken");
});

test("what cannot stand in the log is refused by name", async () => {
  const wal = await open({ maxAppendBytes: 1000 });
  const refusals: [Parameters<Wal["append"]>, string][] = [
    [[[]], "messages"],
    [[[text("a".repeat(1001))]], "messages"],
    [[[text("a"), text("b", "w")]], "messages[1].vchannel"],
    [[[text("a", "v", -1)]], "messages[0].type"],
    [[[text("a"), creation("v")]], "messages[1].type"],
    [[[creation("")]], "messages[0].vchannel"],
    [[[{ ...text("a"), header: new Uint8Array(1024 * 1024 + 1) }]], "messages[0].header"],
    [[[text("a")], { idempotencyKey: "k".repeat(513) }], "idempotency_key"],
  ];
  for (const [args, field] of refusals) {
    await expect(wal.append(...args)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field });
  }
  expect(wal.bounds().next).toBe(0);
});

test("an owner whose log is truncated while it opens has been followed by another", async () => {
  const inner = createMemoryBackend();
  const first = await open({ backend: inner });
  for (const letter of ["a", "b", "c"]) await first.append([text(letter)]);
  const backend: LogBackend = {
    ...inner,
    async open(pchannel, term) {
      const log = await inner.open(pchannel, term);
      return {
        ...log,
        async *read(from) {
          const next = await open({ backend: inner, term: term + 1 });
          await next.truncate(2);
          yield* log.read(from);
        },
      };
    },
  };
  await expect(open({ backend, term: 2 })).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
});
