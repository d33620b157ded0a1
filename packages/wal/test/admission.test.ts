import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  CreateCollectionHeaderSchema,
  CreateSegmentHeaderSchema,
  InsertHeaderSchema,
  PartitionHeaderSchema,
} from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import {
  createMemoryBackend,
  type OpenWalOptions,
  openWal,
  type StoredMessage,
  type Wal,
  type WalMessage,
} from "../src/mod.ts";
import { countingTicks, createGatedBackend, ending, settle, text } from "./helpers.ts";

async function open(options: Partial<OpenWalOptions> = {}): Promise<Wal> {
  const backend = options.backend ?? createMemoryBackend();
  return openWal({ backend, pchannel: "p", term: 1, ticks: countingTicks(), ...options });
}

const noBytes = new Uint8Array(0);
const collection = {
  id: 7n,
  name: "c",
  schema: { version: 1 },
  partitions: [{ id: 8n, name: "_default" }],
};

function message(type: number, header: Uint8Array, payload = noBytes): WalMessage {
  return { type, vchannel: "v", header, payload };
}

function creation(): WalMessage {
  const header = create(CreateCollectionHeaderSchema, { collection });
  return message(5, toBinary(CreateCollectionHeaderSchema, header));
}

function rows(count: number, { partition = 8n, schemaVersion = 1, bytes = 10 } = {}): WalMessage {
  const header = create(InsertHeaderSchema, {
    collectionId: 7n,
    partitionId: partition,
    rows: count,
    schemaVersion,
  });
  return message(2, toBinary(InsertHeaderSchema, header), new Uint8Array(bytes));
}

function partitionChange(type: 7 | 8, id: bigint): WalMessage {
  const header = create(PartitionHeaderSchema, { collectionId: 7n, partition: { id, name: "p" } });
  return message(type, toBinary(PartitionHeaderSchema, header));
}

async function messagesOf(wal: Wal): Promise<StoredMessage[]> {
  const all: StoredMessage[] = [];
  const { next } = wal.bounds();
  for await (const batch of wal.scan({ from: "earliest", signal: new AbortController().signal })) {
    all.push(...batch.messages());
    if (batch.sequence === next - 1) break;
  }
  return all;
}

test("what comes after something exclusive waits until its effect is known", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend });
  const created = wal.append([creation()]);
  const inserted = wal.append([rows(1)]);
  await settle();
  expect(backend.waiting()).toBe(1);
  backend.openGate();
  expect((await inserted).id.sequence).toBeGreaterThan((await created).id.sequence);

  const dropped = wal.append([ending("v")]);
  await expect(wal.append([rows(1)])).rejects.toMatchObject({ code: "VCHANNEL_NOT_EXIST" });
  await dropped;
});

test("a control channel needs no creation, takes repeats once, and holds nothing back", async () => {
  const wal = await open();
  const control = { type: 1000, vchannel: "p_vcchan", header: noBytes, payload: noBytes };
  const first = await wal.append([control], { idempotencyKey: "broadcast/1" });
  const again = await wal.append([control], { idempotencyKey: "broadcast/1" });
  expect(again).toMatchObject({ id: first.id, duplicate: true });
  expect([...wal.vchannels().keys()]).toEqual([]);
  await wal.append([creation()]);
  await wal.append([rows(1)]);
});

test("what comes after something exclusive that failed finds the state of before", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend });
  const first = wal.append([creation()]);
  await settle();
  backend.release();
  await first;
  const dropped = wal.append([ending("v")]);
  const inserted = wal.append([rows(1)]);
  await settle();
  backend.release(new MillraceError("RESOURCE_EXHAUSTED", "no space"));
  await expect(dropped).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  await settle();
  backend.release();
  expect((await inserted).id).toEqual({ sequence: 1, index: 0 });
});

test("a vchannel is not held back by what is exclusive to another", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend, vchannels: "any" });
  const flushed = wal.append([text("", "v", 9)]);
  const other = wal.append([text("a", "w")]);
  const all = wal.append([text("", "", 9)]);
  await settle();
  backend.release();
  expect((await other).id).toEqual({ sequence: (await flushed).id.sequence, index: 1 });
  await settle();
  const behindAll = wal.append([text("b", "w")]);
  backend.openGate();
  expect((await behindAll).id.sequence).toBeGreaterThan((await all).id.sequence);
});

test("inserts have the schema's version and a partition that exists", async () => {
  const backend = createMemoryBackend();
  const wal = await open({ backend });
  await wal.append([creation()]);
  await wal.append([rows(1)]);
  await expect(wal.append([rows(1, { schemaVersion: 2 })])).rejects.toMatchObject({
    code: "SCHEMA_VERSION_MISMATCH",
    expected: "1",
    retryable: true,
  });
  await expect(wal.append([rows(1, { partition: 9n })])).rejects.toMatchObject({
    code: "PARTITION_NOT_FOUND",
  });
  const altered = create(AlterCollectionHeaderSchema, {
    collection: { ...collection, schema: { version: 2 } },
  });
  await wal.append([partitionChange(7, 9n)]);
  await wal.append([message(13, toBinary(AlterCollectionHeaderSchema, altered))]);
  const snapshot = wal.snapshot();

  for (const [term, from] of [[2], [3, snapshot]] as const) {
    const next = await open({ backend, term, snapshot: from });
    await next.append([rows(1, { partition: 9n, schemaVersion: 2 })]);
    await expect(next.append([rows(1)])).rejects.toMatchObject({
      code: "SCHEMA_VERSION_MISMATCH",
      expected: "2",
    });
  }
  const last = await open({ backend, term: 4 });
  await last.append([partitionChange(8, 9n)]);
  await expect(last.append([rows(1, { partition: 9n, schemaVersion: 2 })])).rejects.toMatchObject({
    code: "PARTITION_NOT_FOUND",
  });
});

test("a missing segment is created right before the insert that needs it, in its batch", async () => {
  const backend = createMemoryBackend();
  const segments = { rows: 10, bytes: 1000, random: createSeededRandom(1) };
  const wal = await open({ backend, segments });
  await wal.append([creation()]);
  const first = await wal.append([rows(6), rows(3)]);
  expect(first).toMatchObject({ id: { sequence: 1, index: 1 } });
  const [second, third] = await Promise.all([wal.append([rows(2)]), wal.append([rows(1)])]);
  expect(second.id).toEqual({ sequence: 2, index: 1 });
  expect(third.id).toEqual({ sequence: 2, index: 2 });
  // Full by bytes, and what is flushed begins anew.
  expect((await wal.append([rows(1, { bytes: 990 })])).id.index).toBe(1);
  await wal.append([message(9, noBytes)]);
  expect((await wal.append([rows(1)])).id.index).toBe(1);

  const all = await messagesOf(wal);
  expect(all.map(({ type }) => type)).toEqual([5, 10, 2, 2, 10, 2, 2, 10, 2, 9, 10, 2]);
  const [created] = all.filter(({ type }) => type === 10);
  expect(fromBinary(CreateSegmentHeaderSchema, created?.header ?? noBytes)).toMatchObject({
    collectionId: 7n,
    partitionId: 8n,
    schemaVersion: 1,
    maxRows: 10n,
  });
  const [vchannel] = wal.snapshot().vchannels;
  expect(vchannel?.segments).toMatchObject([{ id: all[10]?.tick, rows: 1, bytes: 10 }]);

  // Replayed or from a snapshot: the next owner goes on in the same segment.
  for (const [term, from] of [[2], [3, wal.snapshot()]] as const) {
    const next = await open({ backend, term, snapshot: from, segments });
    expect((await next.append([rows(1)])).id.index).toBe(0);
  }
});

test("inserts behind deletes of their append have a segment as well", async () => {
  const wal = await open({ segments: { random: createSeededRandom(1) } });
  await wal.append([creation()]);
  await wal.append([message(3, noBytes), rows(1)]);
  expect((await messagesOf(wal)).map(({ type }) => type)).toEqual([5, 10, 3, 2]);
  expect(wal.snapshot().vchannels[0]?.segments).toMatchObject([{ rows: 1 }]);
});

test("a segment whose batch was refused is created again", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend, segments: { random: createSeededRandom(1) } });
  const created = wal.append([creation()]);
  await settle();
  backend.release();
  await created;
  const refused = wal.append([rows(1)]);
  await settle();
  backend.release(new MillraceError("RESOURCE_EXHAUSTED", "no space"));
  await expect(refused).rejects.toMatchObject({ maybeApplied: true });
  backend.openGate();
  expect((await wal.append([rows(1)])).id).toEqual({ sequence: 1, index: 1 });
});

test("an append may wait for room, in its turn, and give up", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend, vchannels: "any", maxWaitingBytes: 2000 });
  const large = (letter: string) => [text(letter.repeat(900))];
  const taken = [wal.append(large("a")), wal.append(large("b"))];
  const gone = new AbortController();
  const givesUp = wal.append(large("c"), { whenFull: "wait", signal: gone.signal });
  const waits = wal.append(large("d"), { whenFull: "wait" });
  await expect(wal.append(large("e"))).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  // As much again may wait.
  await expect(wal.append(large("f"), { whenFull: "wait" })).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
  });
  gone.abort(new Error("enough"));
  await expect(givesUp).rejects.toThrow("enough");
  backend.openGate();
  await Promise.all([...taken, waits]);
  expect((await messagesOf(wal)).map(({ payload }) => payload[0])).toEqual(
    ["a", "b", "d"].map((letter) => letter.charCodeAt(0)),
  );
});

test("those who wait for room are told when the log closes or fails", async () => {
  for (const failure of [undefined, new MillraceError("INNER", "the disk is broken")]) {
    const backend = createGatedBackend();
    const wal = await open({ backend, vchannels: "any", maxWaitingBytes: 100 });
    const taken = wal.append([text("a".repeat(90))]);
    const waits = wal.append([text("b".repeat(90))], { whenFull: "wait" });
    const told = expect(waits).rejects.toMatchObject({ code: failure?.code ?? "ON_SHUTDOWN" });
    const closed = failure ? undefined : wal.close();
    await settle();
    const settled = failure ? expect(taken).rejects.toMatchObject({ code: "INNER" }) : taken;
    backend.release(failure);
    await Promise.all([told, settled, closed]);
  }
});

test("a log that had no room goes on at the same place when it has some", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend, vchannels: "any" });
  const appends = ["a", "b"].map((letter) => wal.append([text(letter.repeat(200_000))]));
  await settle();
  expect(backend.waiting()).toBe(2);
  const queued = wal.append([text("c")]);
  const noSpace = new MillraceError("RESOURCE_EXHAUSTED", "no space", { retryAfterMs: 1000 });
  backend.release(noSpace);
  backend.release(noSpace);
  for (const append of appends) {
    const refusal = { code: "RESOURCE_EXHAUSTED", maybeApplied: true, retryAfterMs: 1000 };
    await expect(append).rejects.toMatchObject(refusal);
  }
  await expect(queued).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED", maybeApplied: false });
  expect(wal.signal.aborted).toBe(false);
  backend.openGate();
  const later = await wal.append([text("d")]);
  expect(later.id).toEqual({ sequence: 0, index: 0 });
  expect(wal.status().waitingBytes).toBe(0);
});

test("inserts beyond the rate are refused with the time after which they are let in", async () => {
  const clock = createVirtualClock();
  const throttle = { bytesPerSecond: 1000, burstBytes: 1000 };
  const wal = await open({ clock, vchannels: "any", throttle });
  await wal.append([text("a".repeat(1400))]);
  const refusal = await wal.append([text("b")]).catch((error) => error);
  expect(refusal).toMatchObject({ code: "RESOURCE_EXHAUSTED", maybeApplied: false });
  expect(refusal.retryAfterMs).toBeGreaterThan(300);
  // What is not rows is let in.
  await wal.append([text("flush", "v", 9)]);
  await clock.advance(refusal.retryAfterMs);
  await wal.append([text("b")]);
  expect(wal.status()).toMatchObject({ appends: 3, refused: 1 });
  await wal.close();
});

test("under pressure inserts are slowed down, then refused, and let in again when it is over", async () => {
  const clock = createVirtualClock();
  let pressure = 0;
  const throttle = { pressure: () => pressure, burstBytes: 100_000 };
  const wal = await open({ clock, vchannels: "any", throttle });
  /** How many of 100 inserts of 100 KiB, over a second, are let in. */
  const offer = async (): Promise<number> => {
    let letIn = 0;
    for (let i = 0; i < 100; i++) {
      await clock.advance(10);
      await wal.append([text("a".repeat(100 * 1024))]).then(
        () => letIn++,
        (error) => expect(error.code).toBe("RESOURCE_EXHAUSTED"),
      );
    }
    return letIn;
  };
  expect(await offer()).toBe(100);
  pressure = 0.92;
  await offer();
  const slow = [await offer(), await offer(), await offer()];
  expect(slow[2]).toBeLessThan(slow[0] as number);
  expect(slow[2]).toBeGreaterThan(0);
  pressure = 0.96;
  await offer();
  expect(await offer()).toBe(0);
  pressure = 0.88;
  expect(await offer()).toBe(0);
  pressure = 0.5;
  await offer();
  let last = 0;
  for (let i = 0; i < 40 && last < 100; i++) last = await offer();
  expect(last).toBe(100);
  await wal.close();
});

test("a tick is written to a log that was written to, once, and time goes on at rest", async () => {
  const clock = createVirtualClock();
  const wal = await open({ clock, vchannels: "any" });
  await clock.advance(1000);
  expect(wal.bounds().next).toBe(0);
  await wal.append([text("a")]);
  await clock.advance(1000);
  const types = (await messagesOf(wal)).map(({ type }) => type);
  expect(types).toEqual([2, 1]);
  const before = wal.confirmedTick();
  await clock.advance(1000);
  expect(wal.confirmedTick()).toBeGreaterThan(before);
  expect(wal.bounds().next).toBe(2);
  await wal.close();
  const written = wal.bounds().next;
  await clock.advance(1000);
  expect(wal.bounds().next).toBe(written);
});

test("sync answers a tick up to which all is in the log, also while a write is under way", async () => {
  const backend = createGatedBackend();
  const wal = await open({ backend, vchannels: "any" });
  expect(await wal.sync(100n)).toBeGreaterThan(100n);
  const append = wal.append([text("a")]);
  await settle();
  let synced: bigint | undefined;
  const syncing = wal.sync(200n).then((tick) => {
    synced = tick;
  });
  await settle();
  expect(synced).toBeUndefined();
  backend.openGate();
  const { lastTick } = await append;
  await syncing;
  expect(synced).toBeGreaterThan(200n);
  expect(synced).toBeGreaterThan(lastTick);
  expect(wal.confirmedTick()).toBe(synced);
  expect((await wal.append([text("b")])).firstTick).toBeGreaterThan(synced ?? 0n);
});

test("a barrier that cannot be met is refused alone", async () => {
  const ticks = countingTicks();
  const far = 1_000_000n;
  const wal = await open({
    vchannels: "any",
    ticks: {
      take(count, after = 0n) {
        if (after < far) return ticks.take(count, after);
        throw new MillraceError("INVALID_ARGUMENT", "too far ahead", { field: "barrier_tick" });
      },
    },
  });
  const [before, ahead, behind] = [undefined, far, undefined].map((barrier) =>
    wal.append([text("a")], { barrier }),
  );
  await expect(ahead).rejects.toMatchObject({ field: "barrier_tick" });
  expect([(await before)?.id.index, (await behind)?.id.index]).toEqual([0, 1]);
});

test("the stages of batches are timed, and a slow one is told", async () => {
  const clock = createVirtualClock();
  const backend = createGatedBackend();
  const slow: unknown[] = [];
  const logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: (text: string, fields?: Record<string, unknown>) => slow.push([text, fields]),
    error: () => undefined,
  };
  const wal = await open({ backend, clock, logger, vchannels: "any" });
  const append = wal.append([text("a")]);
  await settle();
  await clock.advance(1500);
  backend.openGate();
  await append;
  expect(wal.status().stages.written).toEqual({ count: 1, totalMs: 1500, maxMs: 1500 });
  expect(slow).toEqual([["a batch was slow", expect.objectContaining({ written: 1500 })]]);
  await wal.close();
});
