/**
 * What some log backends do and others need not: run out of room and live on, open at a mark, keep bytes
 * for the next owner. What a backend does not have is not tested.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Log, LogBackend, LogMark } from "../log.ts";
import { type Batches, collect, createBatches, range, sequences } from "./batches.ts";
import type { LogBackendHarness } from "./harness.ts";

const pchannel = "conformance-dml_0";

interface Fixture {
  open(term: number, mark?: LogMark, name?: string): Promise<Log>;
  batches: Batches;
}

/** A fixture that is made before each test and cleaned up after it. */
function useFixture(harness: LogBackendHarness): () => Fixture {
  let backend: LogBackend;
  let logs: Log[];
  let fixture: Fixture;
  beforeEach(async () => {
    backend = await harness.open();
    const other = (await harness.reopen?.()) ?? backend;
    logs = [];
    fixture = {
      batches: createBatches(),
      async open(term, mark, name = pchannel) {
        const log = await (term % 2 === 0 ? other : backend).open(name, term, { mark });
        logs.push(log);
        return log;
      },
    };
  });
  afterEach(async () => {
    for (const log of logs) await log.close();
    await backend.close();
    await harness.cleanUp?.();
  });
  return () => fixture;
}

/** Registers the tests of a backend that can be made to run out of room. */
export function describeRoom(harness: LogBackendHarness): void {
  const { fill } = harness;
  if (!fill) return;
  describe("without room", () => {
    const fixture = useFixture(harness);
    const refusal = { code: "RESOURCE_EXHAUSTED" };

    test("appends are refused, reading goes on, and so does the log when there is room", async () => {
      const { open, batches } = fixture();
      const log = await open(1);
      for (const batch of batches.many(1, 0, 3)) await log.append(batch);
      const free = await fill.call(harness);
      // What was handed in after the one that was refused is refused with it.
      const refused = batches.many(1, 3, 3, 20).map((batch) => log.append(batch));
      for (const result of refused) await expect(result).rejects.toMatchObject(refusal);
      await expect(log.append(batches.one(1, 3, 30))).rejects.toMatchObject(refusal);
      expect(log.bounds()).toEqual({ first: 0, next: 3 });
      expect(await sequences(log, 0)).toEqual(range(0, 3));
      free();
      const kept = batches.many(1, 3, 3, 40);
      for (const batch of kept) await log.append(batch);
      const next = await open(2);
      const read = await collect(next, 3);
      expect(read.map(({ checksum }) => checksum)).toEqual(kept.map(({ checksum }) => checksum));
    });

    test("an owner that ends before there is room leaves what it acknowledged", async () => {
      const { open, batches } = fixture();
      const log = await open(1);
      for (const batch of batches.many(1, 0, 3)) await log.append(batch);
      const free = await fill.call(harness);
      await expect(log.append(batches.one(1, 3))).rejects.toMatchObject(refusal);
      free();
      const next = await open(2);
      expect(await sequences(next, 0)).toEqual(range(0, 3));
      await next.append(batches.one(2, 3));
      expect(await sequences(next, 0)).toEqual(range(0, 4));
    });
  });
}

/** Registers the tests of a backend that has marks, and of any that is given some. */
export function describeMarks(harness: LogBackendHarness): void {
  describe("opened at a mark", () => {
    const fixture = useFixture(harness);

    /** A log of several terms, whose last owner is gone without a word, and its marks. */
    async function write(): Promise<LogMark[]> {
      const { open, batches } = fixture();
      const marks: LogMark[] = [];
      for (const [term, from] of [
        [1, 0],
        [2, 7],
      ] as const) {
        const log = await open(term);
        for (const batch of batches.many(term, from, 7, 900)) {
          const mark = log.mark?.();
          if (mark) marks.push(mark);
          await log.append(batch);
        }
        const mark = log.mark?.();
        if (mark) marks.push(mark);
      }
      return marks;
    }

    test("a log is the same as without it, from any mark", async () => {
      const marks = await write();
      const { open, batches } = fixture();
      let next = 14;
      for (const [i, mark] of marks.entries()) {
        expect(mark.sequence).toBe(i > 7 ? i - 1 : i);
        const log = await open(3 + i, mark);
        expect(log.bounds()).toEqual({ first: 0, next });
        await log.append(batches.one(3 + i, next++));
        expect(await sequences(log, 0)).toEqual(range(0, next));
      }
    });

    test("a mark that is wrong does no harm", async () => {
      const { open } = fixture();
      const marks = await write();
      const hint = marks.at(-1)?.hint ?? "";
      const wrong: LogMark[] = [
        { sequence: 1000, hint },
        { sequence: 3, hint },
        { sequence: 14, hint: "" },
        { sequence: 14, hint: "nonsense" },
        { sequence: 14, hint: marks[0]?.hint ?? "" },
        { sequence: 14, hint: hint.replaceAll(/[0-9]/g, "9") },
        { sequence: -1, hint: hint.replaceAll(/[0-9]/g, "0") },
      ];
      for (const [i, mark] of wrong.entries()) {
        const log = await open(3 + i, mark);
        expect(log.bounds(), JSON.stringify(mark)).toEqual({ first: 0, next: 14 });
        expect(await sequences(log, 0)).toEqual(range(0, 14));
      }
    });

    test("a mark that was truncated, or is of another log, does no harm", async () => {
      const { open, batches } = fixture();
      const marks = await write();
      const log = await open(3, marks[2]);
      await log.truncate(10);
      const { first } = log.bounds();
      for (const [i, mark] of marks.entries()) {
        expect((await open(4 + i, mark)).bounds()).toEqual({ first, next: 14 });
      }
      const other = await open(1, marks.at(-1), "conformance-dml_1");
      expect(other.bounds()).toEqual({ first: 0, next: 0 });
      await other.append(batches.one(1, 0, 10, 0));
      expect(await sequences(other, 0)).toEqual([0]);
    });
  });
}

/** Registers the tests of a backend that keeps bytes for the next owner. */
export function describeKeeping(harness: LogBackendHarness): void {
  describe("bytes that are kept beside a log", () => {
    const fixture = useFixture(harness);
    const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 251);

    test("are there for the next owner, the last ones alone", async () => {
      const { open, batches } = fixture();
      const log = await open(1);
      expect(log.kept).toBeUndefined();
      if (!log.keep) return;
      await log.append(batches.one(1, 0));
      for (const length of [10, 100_000, 0, 1000]) {
        await log.keep(bytes(length));
        expect(log.kept).toEqual(bytes(length));
      }
      const second = await open(2);
      expect(second.kept).toEqual(bytes(1000));
      // Nothing of its own: the next one gets what there is.
      const third = await open(3);
      expect(third.kept).toEqual(bytes(1000));
      await third.keep?.(bytes(5));
      await third.close();
      expect((await open(4)).kept).toEqual(bytes(5));
      expect((await open(1, undefined, "conformance-dml_1")).kept).toBeUndefined();
    });

    test("are not lost with what is truncated, nor replaced by a former owner", async () => {
      const { open, batches } = fixture();
      const log = await open(1);
      if (!log.keep) return;
      for (const batch of batches.many(1, 0, 20, 900)) await log.append(batch);
      await log.keep(bytes(7));
      const second = await open(2);
      for (const batch of batches.many(2, 20, 20, 900)) await second.append(batch);
      await second.truncate(35);
      await expect(log.keep(bytes(8))).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
      expect((await open(3)).kept).toEqual(bytes(7));
    });
  });
}
