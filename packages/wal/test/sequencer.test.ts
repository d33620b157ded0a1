import { MillraceError, type TickSource } from "@millrace/types";
import { expect, test } from "vitest";
import { type OpenWalOptions, openWal } from "../src/mod.ts";
import { countingTicks, createGatedBackend, readTexts, settle, text } from "./helpers.ts";

const signal = new AbortController().signal;

async function openGated(options: Partial<OpenWalOptions> = {}) {
  const backend = createGatedBackend();
  const ticks = countingTicks();
  const wal = await openWal({
    backend,
    pchannel: "p",
    term: 1,
    ticks,
    vchannels: "any",
    ...options,
  });
  return { backend, wal };
}

test("what waits while a write is in flight is written at once", async () => {
  const { backend, wal } = await openGated();
  const first = wal.append([text("a")]);
  await settle();
  const rest = ["b", "c", "d"].map((payload) => wal.append([text(payload)]));
  await settle();
  expect(backend.waiting()).toBe(1);
  backend.release();
  expect((await first).id).toEqual({ sequence: 0, index: 0 });
  await settle();
  backend.release();
  expect((await Promise.all(rest)).map(({ id }) => id)).toEqual([
    { sequence: 1, index: 0 },
    { sequence: 1, index: 1 },
    { sequence: 1, index: 2 },
  ]);
});

test("of much that waits one part is at the log while the next one is ready", async () => {
  const { backend, wal } = await openGated();
  const large = "x".repeat(100 * 1024);
  const appends = Array.from({ length: 8 }, () => wal.append([text(large)]));
  await settle();
  expect(backend.waiting()).toBe(2);
  backend.openGate();
  const sequences = (await Promise.all(appends)).map(({ id }) => id.sequence);
  expect(sequences).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
});

test("batches stay below their limit, but an append is never split", async () => {
  const { backend, wal } = await openGated({ maxBatchBytes: 1000 });
  backend.openGate();
  const parts = ["a", "b", "c"].map((letter) => text(letter.repeat(600)));
  const [alone, together, after] = await Promise.all([
    wal.append(parts.slice(0, 1)),
    wal.append(parts),
    wal.append(parts.slice(0, 1)),
  ]);
  expect(alone.id).toEqual({ sequence: 0, index: 0 });
  expect(together.id).toEqual({ sequence: 1, index: 0 });
  expect(together.lastTick - together.firstTick).toBe(2n);
  expect(after.id).toEqual({ sequence: 2, index: 0 });
});

test("too much waiting is refused with a delay, and taken again later", async () => {
  const { backend, wal } = await openGated({ maxWaitingBytes: 2000 });
  const taken = [wal.append([text("a".repeat(900))]), wal.append([text("b".repeat(900))])];
  const refused = await wal.append([text("c".repeat(900))]).catch((error) => error);
  expect(refused).toMatchObject({ code: "RESOURCE_EXHAUSTED", retryable: true });
  expect(refused.retryAfterMs).toBeGreaterThan(0);
  expect(refused.maybeApplied).toBe(false);
  backend.openGate();
  await Promise.all(taken);
  await wal.append([text("c".repeat(900))]);
  expect(wal.bounds().next).toBe(2);
});

test("ticks are one block per batch, above the last tick and every barrier", async () => {
  const { backend, wal } = await openGated();
  backend.openGate();
  const [a, b] = await Promise.all([
    wal.append([text("a"), text("b")]),
    wal.append([text("c")], { barrier: 100n }),
  ]);
  expect(a).toMatchObject({ firstTick: 101n, lastTick: 102n });
  expect(b).toMatchObject({ firstTick: 103n, lastTick: 103n });
  expect(wal.lastTick()).toBe(103n);
});

test("a tick source may answer later, and the order of appends is kept", async () => {
  const inner = countingTicks();
  const asked: (() => void)[] = [];
  const ticks: TickSource = {
    async take(count, after) {
      await new Promise<void>((resolve) => asked.push(resolve));
      return inner.take(count, after);
    },
  };
  const { backend, wal } = await openGated({ ticks });
  backend.openGate();
  const first = wal.append([text("a")]);
  await settle();
  const second = wal.append([text("b")]);
  await settle();
  expect(asked.length).toBe(1);
  asked.shift()?.();
  await first;
  await settle();
  asked.shift()?.();
  await second;
  expect(await readTexts(wal.scan({ from: "earliest", signal }), 2)).toEqual(["a", "b"]);
});

test("a tick source that fails refuses what waits, and nothing else", async () => {
  const inner = countingTicks();
  let answer: TickSource["take"] = async () => {
    throw new MillraceError("UNAVAILABLE", "the coordinator is away");
  };
  const { backend, wal } = await openGated({ ticks: { take: (...args) => answer(...args) } });
  backend.openGate();
  await expect(wal.append([text("a")])).rejects.toMatchObject({
    code: "UNAVAILABLE",
    maybeApplied: false,
  });
  answer = () => {
    throw new MillraceError("UNAVAILABLE", "still away");
  };
  await expect(wal.append([text("b")])).rejects.toThrow("still away");
  answer = () => ({ first: 0n, count: 1 });
  await expect(wal.append([text("c")])).rejects.toThrow("out of order");
  answer = (count, after) => inner.take(count, after);
  expect((await wal.append([text("d")])).id).toEqual({ sequence: 0, index: 0 });
});

test("one failure ends the log: in flight the outcome is unknown, behind it nothing happened", async () => {
  const { backend, wal } = await openGated();
  const settled: string[] = [];
  const outcome = (name: string, promise: Promise<unknown>) =>
    promise.then(
      () => settled.push(`${name}: written`),
      ({ code, maybeApplied }) => settled.push(`${name}: ${code} ${maybeApplied}`),
    );
  const first = outcome("a", wal.append([text("a")]));
  await settle();
  const second = outcome("b", wal.append([text("b")]));
  await settle();
  backend.release(new MillraceError("INNER", "the disk is gone"));
  await Promise.all([first, second]);
  expect(settled).toEqual(["a: INNER true", "b: INNER false"]);
  expect(wal.signal.reason).toMatchObject({ code: "INNER", message: "the disk is gone" });
  await expect(wal.append([text("c")])).rejects.toThrow("the disk is gone");
  await expect(
    wal.scan({ from: "earliest", signal })[Symbol.asyncIterator]().next(),
  ).rejects.toThrow("the disk is gone");
  await wal.close();
});

test("close lets those under way finish and refuses others", async () => {
  const { backend, wal } = await openGated();
  const first = wal.append([text("a")]);
  await settle();
  const second = wal.append([text("b")]);
  const closed = wal.close();
  await expect(wal.append([text("c")])).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
  expect(wal.signal.aborted).toBe(false);
  backend.release();
  await first;
  await settle();
  backend.release();
  expect((await second).id.sequence).toBe(1);
  await closed;
  expect(wal.signal.reason).toMatchObject({ code: "ON_SHUTDOWN" });
});

test("an append that was taken ignores its signal; one that was not has no effect", async () => {
  const { backend, wal } = await openGated();
  const controller = new AbortController();
  const first = wal.append([text("a")], { signal: controller.signal });
  controller.abort(new Error("too late"));
  backend.openGate();
  expect((await first).id.sequence).toBe(0);
  await expect(wal.append([text("b")], { signal: controller.signal })).rejects.toThrow("too late");
  expect(wal.bounds().next).toBe(1);
});
