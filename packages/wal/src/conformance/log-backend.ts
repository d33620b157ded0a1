/**
 * What every log backend must do, as tests. Call {@linkcode describeLogBackend} in a test file of
 * Vitest.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createSeededRandom } from "@millrace/types/testing";
import type { Log, LogBackend, LogReader } from "../log.ts";
import type { RecordBatch } from "../record-batch.ts";
import { type Batches, collect, createBatches, range, sequences } from "./batches.ts";
import { checkHistory } from "./checker.ts";
import { runLogHistory } from "./log-history.ts";
import type { LogBackendHarness } from "./harness.ts";
import { describeKeeping, describeMarks, describeRoom } from "./log-extras.ts";
import { nextTurn } from "./turns.ts";

const pchannel = "conformance-dml_0";

/** Registers the conformance tests of a backend. */
export function describeLogBackend(name: string, harness: LogBackendHarness): void {
  describe(`log backend ${name}`, () => {
    let backend: LogBackend;
    let logs: Log[];
    let batches: Batches;

    beforeEach(async () => {
      backend = await harness.open();
      logs = [];
      batches = createBatches();
    });
    afterEach(async () => {
      for (const log of logs) await log.close();
      await backend.close();
      await harness.cleanUp?.();
    });

    async function openAt(term: number, from: LogBackend = backend): Promise<Log> {
      const log = await from.open(pchannel, term);
      logs.push(log);
      return log;
    }

    test("a new log is empty", async () => {
      const log = await openAt(1);
      expect(log.term).toBe(1);
      expect(log.bounds()).toEqual({ first: 0, next: 0 });
      expect(await sequences(log, 0)).toEqual([]);
    });

    test("appends that overlap resolve in order and are read in order", async () => {
      const log = await openAt(1);
      const resolved: number[] = [];
      const written = batches.many(1, 0, 20);
      await Promise.all(
        written.map((batch) => log.append(batch).then(() => resolved.push(batch.sequence))),
      );
      expect(resolved).toEqual(range(0, 20));
      expect(log.bounds()).toEqual({ first: 0, next: 20 });
      const read = await collect(log, 0);
      expect(read.map(({ bytes }) => bytes)).toEqual(written.map(({ bytes }) => bytes));
    });

    test("a log that releases batches does not need their bytes once they are written", async () => {
      const log = await openAt(1);
      if (!log.releasesBatches) return;
      const written = batches.many(1, 0, 5);
      const before = written.map(({ bytes }) => bytes.slice());
      for (const batch of written) {
        await log.append(batch);
        batch.bytes.fill(0xff);
      }
      expect((await collect(log, 0)).map(({ bytes }) => bytes)).toEqual(before);
    });

    test("reading begins at each position, and ends at the end", async () => {
      const log = await openAt(1);
      for (const batch of batches.many(1, 0, 8)) await log.append(batch);
      for (let from = 0; from <= 8; from++) {
        expect(await sequences(log, from)).toEqual(range(from, 8));
      }
    });

    test("reading ends when its signal is aborted", async () => {
      const log = await openAt(1);
      for (const batch of batches.many(1, 0, 3)) await log.append(batch);
      const controller = new AbortController();
      const reading = (async () => {
        for await (const { sequence } of log.read(0, { signal: controller.signal })) {
          if (sequence === 1) controller.abort(new Error("enough"));
        }
      })();
      await expect(reading).rejects.toThrow("enough");
    });

    test("a batch that does not continue the log is refused, and all after it", async () => {
      const log = await openAt(2);
      await log.append(batches.one(2, 0));
      await expect(log.append(batches.one(2, 2))).rejects.toSatisfy(MillraceError.is);
      await expect(log.append(batches.one(2, 1))).rejects.toSatisfy(MillraceError.is);
      expect(await sequences(log, 0)).toEqual([0]);
    });

    test("a batch of another term is refused", async () => {
      const log = await openAt(2);
      await expect(log.append(batches.one(1, 0))).rejects.toSatisfy(MillraceError.is);
      expect(log.bounds().next).toBe(0);
    });

    test("the next owner continues where the last one ended", async () => {
      let next = 0;
      for (const term of [1, 2, 3, 7, 8]) {
        const log = await openAt(term);
        expect(log.bounds()).toEqual({ first: 0, next });
        // Term 3 writes nothing.
        const count = term === 3 ? 0 : 3;
        for (const batch of batches.many(term, next, count)) await log.append(batch);
        next += count;
        await log.close();
      }
      const other = (await harness.reopen?.()) ?? backend;
      const log = await openAt(20, other);
      const read = await collect(log, 0);
      expect(read.map(({ sequence }) => sequence)).toEqual(range(0, next));
      expect(read.map(({ term }) => term)).toEqual([1, 1, 1, 2, 2, 2, 7, 7, 7, 8, 8, 8]);
    });

    test("an owner that was followed is fenced, and nothing of it is seen later", async () => {
      const old = await openAt(1);
      await old.append(batches.one(1, 0));
      const other = (await harness.reopen?.()) ?? backend;
      const current = await openAt(2, other);
      expect(await sequences(current, 0)).toEqual([0]);
      await expect(old.append(batches.one(1, 1))).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
      await expect(old.append(batches.one(1, 1))).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
      await current.append(batches.one(2, 1));
      expect((await collect(current, 0)).map(({ term }) => term)).toEqual([1, 2]);
      await expect(old.truncate(1)).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
    });

    test("what an owner acknowledges while another one opens is kept", async () => {
      const other = (await harness.reopen?.()) ?? backend;
      const old = await openAt(1);
      let acknowledged = 0;
      let warm: () => void = () => undefined;
      const warmedUp = new Promise<void>((resolve) => {
        warm = resolve;
      });
      const writing = (async () => {
        for (let sequence = 0; ; sequence++) {
          await old.append(batches.one(1, sequence));
          acknowledged = sequence + 1;
          if (acknowledged === 5) warm();
          // A backend that answers at once would let nobody else run.
          await nextTurn();
        }
      })();
      const stopped = expect(writing).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
      await warmedUp;
      const current = await openAt(2, other);
      await stopped;
      const { next } = current.bounds();
      expect(next).toBeGreaterThanOrEqual(acknowledged);
      await current.append(batches.one(2, next));
      expect(await sequences(current, 0)).toEqual(range(0, next + 1));
    });

    test("a term that is not higher than all before is refused", async () => {
      await openAt(5);
      for (const term of [1, 4, 5]) {
        await expect(backend.open(pchannel, term)).rejects.toMatchObject({
          code: "CHANNEL_FENCED",
          expected: "5",
        });
      }
    });

    test("of owners that race the highest term wins, and every log is whole", async () => {
      const outcomes = await Promise.allSettled([3, 1, 2].map((term) => openAt(term)));
      expect(outcomes[0]?.status).toBe("fulfilled");
      const winner = logs.find(({ term }) => term === 3) as Log;
      await winner.append(batches.one(3, 0));
      expect(await sequences(winner, 0)).toEqual([0]);
    });

    test("of owners that follow each other at once nothing acknowledged is lost or doubled", async () => {
      const acknowledged: RecordBatch[] = [];
      const checksums = new Map<number, number>();
      async function own(term: number): Promise<void> {
        const log = await openAt(term, (await harness.reopen?.()) ?? backend);
        // As an owner does it: what the log holds comes first.
        for (const batch of await collect(log, 0)) checksums.set(batch.sequence, batch.checksum);
        for (let sequence = log.bounds().next; ; sequence++) {
          const batch = batches.one(term, sequence, 300, checksums.get(sequence - 1) ?? 0);
          await log.append(batch);
          acknowledged.push(batch);
          checksums.set(sequence, batch.checksum);
          // A backend that answers at once would let nobody else run.
          await nextTurn();
        }
      }
      const owners: Promise<unknown>[] = [];
      for (const term of [1, 3, 2, 5, 4, 6]) {
        owners.push(own(term).catch((error) => error));
        const last = acknowledged.length;
        let ended = false;
        owners.at(-1)?.then(() => {
          ended = true;
        });
        while (term % 2 === 1 && !ended && acknowledged.length < last + 3) await nextTurn();
      }
      const final = await openAt(100, (await harness.reopen?.()) ?? backend);
      for (const end of await Promise.all(owners)) {
        expect(end).toMatchObject({ code: "CHANNEL_FENCED" });
      }
      const read = await collect(final, 0);
      expect(read.map(({ sequence }) => sequence)).toEqual(range(0, read.length));
      const kept = new Map(read.map((batch) => [batch.sequence, batch.bytes]));
      for (const { sequence, bytes } of acknowledged) expect(kept.get(sequence)).toEqual(bytes);
    });

    for (let seed = 0; seed < (harness.seeds ?? 30); seed++) {
      test(`owners and readers that come and go at random see one log, seed ${seed}`, async () => {
        const other = (await harness.reopen?.()) ?? backend;
        const history = await runLogHistory({
          pchannel,
          backends: [backend, other],
          random: createSeededRandom(seed),
          fill: harness.fill,
        });
        expect(checkHistory(history)).toEqual([]);
      });
    }

    test("pchannels are apart", async () => {
      const log = await openAt(1);
      await log.append(batches.one(1, 0));
      const other = await backend.open("conformance-dml_1", 1);
      logs.push(other);
      expect(other.bounds()).toEqual({ first: 0, next: 0 });
    });

    test("truncation forgets the past and keeps the rest, also for the next owner", async () => {
      const log = await openAt(1);
      for (const batch of batches.many(1, 0, 40, 600)) await log.append(batch);
      await log.truncate(30);
      const { first, next } = log.bounds();
      expect(first).toBeLessThanOrEqual(30);
      expect(next).toBe(40);
      await expectTruncated(log, first, next);
      await log.truncate(10);
      expect(log.bounds()).toEqual({ first, next });
      const following = await openAt(2, (await harness.reopen?.()) ?? backend);
      expect(following.bounds()).toEqual({ first, next });
      await expectTruncated(following, first, next);
      for (const batch of batches.many(2, 40, 40, 600)) await following.append(batch);
      await following.truncate(75);
      await expectTruncated(following, following.bounds().first, 80);
    });

    test("the last batch is never truncated", async () => {
      const log = await openAt(1);
      await log.truncate(0);
      for (const batch of batches.many(1, 0, 5, 600)) await log.append(batch);
      await log.truncate(1000);
      expect(log.bounds().next).toBe(5);
      expect((await sequences(log, log.bounds().first)).at(-1)).toBe(4);
      await openAt(2);
      const third = await openAt(3);
      await third.truncate(5);
      expect((await sequences(third, third.bounds().first)).at(-1)).toBe(4);
    });

    test("a reader sees what its owner acknowledged, and does not disturb it", async () => {
      await expect(backend.openReadOnly(pchannel)).rejects.toMatchObject({ code: "NOT_FOUND" });
      const log = await openAt(1);
      await log.append(batches.one(1, 0));
      const reader = await ((await harness.reopen?.()) ?? backend).openReadOnly(pchannel);
      expect(reader.bounds()).toEqual({ first: 0, next: 1 });
      await log.append(batches.one(1, 1));
      expect(await sequences(reader, 0)).toEqual([0, 1]);
      const following = await openAt(2);
      await following.append(batches.one(2, 2));
      expect(await sequences(reader, 1)).toEqual([1, 2]);
      await reader.close();
    });

    describeRoom(harness);
    describeMarks(harness);
    describeKeeping(harness);

    test("a closed log refuses appends", async () => {
      const log = await openAt(1);
      await log.append(batches.one(1, 0));
      await log.close();
      await expect(log.append(batches.one(1, 1))).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
    });
  });
}

async function expectTruncated(log: LogReader, first: number, next: number): Promise<void> {
  expect(await sequences(log, first)).toEqual(range(first, next));
  if (first === 0) return;
  await expect(sequences(log, first - 1)).rejects.toMatchObject({
    code: "OUT_OF_RANGE",
    expected: String(first),
  });
}
