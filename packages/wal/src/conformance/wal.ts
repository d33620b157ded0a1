/**
 * What a log must do for its users over any backend, as tests for Vitest.
 *
 * @module
 */

import type { Tick } from "@millrace/types";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { manualFlush } from "../append/message-types.ts";
import type { LogBackend } from "../log.ts";
import { openWal } from "../open-wal.ts";
import { openWalReader } from "../read/mod.ts";
import type { WalMessage } from "../record-batch.ts";
import type { Wal } from "../wal.ts";
import { checkSegments } from "./check/segments.ts";
import { checkHistory } from "./checker.ts";
import type { LogBackendHarness } from "./harness.ts";
import { runWalHistory } from "./wal-history.ts";
import { segmentRows } from "./wal-world.ts";

const pchannel = "conformance-dml_0";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Registers the tests of a log over a backend. */
export function describeWal(name: string, harness: LogBackendHarness): void {
  describe(`log over ${name}`, () => {
    let backend: LogBackend;
    let other: LogBackend;
    let wals: Wal[];

    beforeEach(async () => {
      backend = await harness.open();
      other = (await harness.reopen?.()) ?? backend;
      wals = [];
    });
    afterEach(async () => {
      for (const wal of wals) await wal.close();
      await backend.close();
      await harness.cleanUp?.();
    });

    async function open(term: number): Promise<Wal> {
      const from = term % 2 === 0 ? other : backend;
      const ticks = countingTicks(BigInt(term) * 1000n);
      const wal = await openWal({ backend: from, pchannel, term, ticks, vchannels: "any" });
      wals.push(wal);
      return wal;
    }

    for (let seed = 0; seed < (harness.seeds ?? 30); seed++) {
      test(`what its users are told is what its readers see, seed ${seed}`, async () => {
        const history = await runWalHistory({
          pchannel,
          backends: [backend, other],
          random: createSeededRandom(seed),
          clock: createVirtualClock(),
          segments: seed % 2 === 1,
          fill: harness.fill,
        });
        expect(checkHistory(history, { ordered: false })).toEqual([]);
        if (seed % 2 === 1) expect(checkSegments(history, segmentRows)).toEqual([]);
      });
    }

    test("truncation goes as far as it is asked to, and spares what open transactions need", async () => {
      const wal = await open(1);
      await wal.append([message("m0")]);
      await wal.append([message("m1")]);
      const { txn } = await wal.begin({ vchannel: "v" });
      await wal.append([message("m2")], { txn });
      await wal.append([message("m3")]);
      await wal.truncate(1);
      expect(wal.bounds().first).toBeLessThanOrEqual(1);
      await wal.truncate(5);
      expect(wal.bounds().first).toBeLessThanOrEqual(2);
      await wal.commit(txn);
      expect((await countedFrom(wal, wal.bounds().first)).slice(-2)).toEqual(["m3", "m2"]);
    });

    test("reading what is there does not end as if it were all when the log is closed", async () => {
      const wal = await open(1);
      for (const name of ["m0", "m1", "m2"]) await wal.append([message(name)]);
      const beside = await openWalReader({ backend: other, pchannel });
      for (const log of [wal, beside]) {
        const { signal } = new AbortController();
        const reading = (async () => {
          for await (const _ of log.scan({ from: "earliest", follow: false, signal })) {
            await log.close();
          }
        })();
        await expect(reading).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
      }
    });

    test("a transaction is carried over a move, and its commit is answered again", async () => {
      const first = await open(1);
      const { txn } = await first.begin({ vchannel: "v", idempotencyKey: "begin" });
      await first.append([message("m0"), message("m1")], { txn, idempotencyKey: "append" });
      const second = await open(2);
      const again = await second.append([message("m0"), message("m1")], {
        txn,
        idempotencyKey: "append",
      });
      expect(again.duplicate).toBe(true);
      expect((await second.begin({ vchannel: "v", idempotencyKey: "begin" })).txn).toBe(txn);
      await second.append([message("m2")], { txn });
      const committed = await second.commit(txn);
      const third = await open(3);
      expect(await third.commit(txn)).toMatchObject({ id: committed.id, duplicate: true });
      expect(await countedFrom(third, 0)).toEqual(["m0", "m1", "m2"]);
    });

    test("what is exclusive ends transactions whose beginning is still on its way", async () => {
      const wal = await open(1);
      const beginning = wal.begin({ vchannel: "v" });
      const flush = wal.append([{ ...message("m0"), type: manualFlush }]);
      const behind = wal.append([message("m1")]);
      const { txn } = await beginning;
      await expect(wal.append([message("m2")], { txn })).rejects.toMatchObject({
        code: expect.stringMatching(/^(TRANSACTION_EXPIRED|INVALID_TRANSACTION_STATE)$/),
      });
      expect((await flush).firstTick).toBeLessThan((await behind).firstTick);
      await expect(wal.commit(txn)).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
      expect(await countedFrom(wal, 0)).toEqual(["m0", "m1"]);
    });

    test("a former owner does not call a transaction expired that a later one has", async () => {
      const former = await open(1);
      await former.append([message("m0")]);
      const owner = await open(2);
      const { txn } = await owner.begin({ vchannel: "v" });
      await expect(former.rollback(txn)).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
      await expect(former.commit(txn)).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
      await owner.commit(txn);
      await expect(owner.commit(txn + 999n)).rejects.toMatchObject({ code: "TRANSACTION_EXPIRED" });
    });

    test("a key is remembered over a move, also when its append was truncated", async () => {
      const first = await open(1);
      const { id } = await first.append([message("m0")], { idempotencyKey: "once" });
      for (let i = 1; i < 40; i++) await first.append([message(`m${i}`.padEnd(600, "."))]);
      const snapshot = first.snapshot();
      await first.truncate(30);
      const ticks = countingTicks(2000n);
      const options = { backend: other, pchannel, ticks, vchannels: "any" } as const;
      const second = await openWal({ ...options, term: 2, snapshot });
      wals.push(second);
      const again = await second.append([message("m0")], { idempotencyKey: "once" });
      expect(again).toMatchObject({ id, duplicate: true });
    });
  });
}

function message(name: string): WalMessage {
  return { type: 2, vchannel: "v", header: new Uint8Array(0), payload: encoder.encode(name) };
}

/** What counts in a log from a sequence on, by name. */
async function countedFrom(wal: Wal, sequence: number): Promise<string[]> {
  const names: string[] = [];
  const { signal } = new AbortController();
  for await (const { messages } of wal.read({ from: { sequence }, follow: false, signal })) {
    for (const { payload } of messages) names.push(decoder.decode(payload));
  }
  return names;
}

function countingTicks(start: Tick): {
  take(count: number, after?: Tick): { first: Tick; count: number };
} {
  let last = start;
  return {
    take(count, after = 0n) {
      if (after > last) last = after;
      const first = last + 1n;
      last += BigInt(count);
      return { first, count };
    },
  };
}
