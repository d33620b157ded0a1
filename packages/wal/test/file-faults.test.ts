import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  createFaultyFiles,
  type Faults,
  systemError,
  type WriteCall,
} from "./faulty-files.node.ts";
import {
  collect,
  createFileFixture,
  type FileFixture,
  noteOf,
  pchannel,
  range,
  sequencesOf,
} from "./file-fixture.node.ts";

let fixture: FileFixture;

beforeEach(async () => {
  fixture = await createFileFixture();
});
afterEach(() => fixture.close());

/** Lets only the first `count` bytes of a write through. */
function short({ parts, go }: WriteCall, count: number): Promise<number> {
  return go([(parts[0] as Uint8Array).subarray(0, count)]);
}

const name = (sequence: number): string => `${String(sequence).padStart(16, "0")}.log`;

describe("a write that failed", () => {
  const failures: Record<string, (call: WriteCall) => Promise<number>> = {
    "did nothing": async () => {
      throw systemError("EIO");
    },
    "wrote all the same": async ({ go }) => {
      await go();
      throw systemError("EIO");
    },
    "was short": (call) => short(call, 100),
    "wrote nothing": async () => 0,
  };
  for (const [what, fail] of Object.entries(failures)) {
    test(`${what}: the batch goes into a new segment, the old one is not written again`, async () => {
      let failing = false;
      const written: string[] = [];
      const fs = createFaultyFiles({
        write(call) {
          written.push(call.path);
          if (!failing) return call.go();
          failing = false;
          return fail(call);
        },
      });
      const log = await fixture.open(1, { fs });
      await fixture.fill(log, 3);
      failing = true;
      await fixture.fill(log, 5);
      expect(log.bounds()).toEqual({ first: 0, next: 5 });
      expect(await sequencesOf(log)).toEqual(range(0, 5));
      expect(await fixture.files(1)).toEqual([name(0), name(3)]);
      const old = join(fixture.folder(1), name(0));
      expect(written.lastIndexOf(old)).toBeLessThan(
        written.findIndex((path) => path.includes(name(3))),
      );
      // Readers, a crash, and the next owner.
      expect(await sequencesOf(await fixture.openReader())).toEqual(range(0, 5));
      const next = await fixture.open(2);
      expect(await sequencesOf(next)).toEqual(range(0, 5));
      await fixture.fill(next, 6);
      expect(await sequencesOf(await fixture.openReader())).toEqual(range(0, 6));
    });
  }

  test("to the first segment of a term leaves nothing of that segment", async () => {
    let writes = 0;
    const fs = createFaultyFiles({
      write: (call) => (call.path.includes(".log") && writes++ === 0 ? short(call, 50) : call.go()),
    });
    const log = await fixture.open(1, { fs });
    await fixture.fill(log, 2);
    expect(await sequencesOf(log)).toEqual([0, 1]);
    expect(await fixture.files(1)).toEqual([name(0)]);
  });

  test("three times in a row after the first ends the log with the reason; the next owner agrees", async () => {
    let failing = false;
    let failed = 0;
    const fs = createFaultyFiles({
      async write({ path, go }) {
        const written = await go();
        if (!failing || !path.includes(".log")) return written;
        failed++;
        throw systemError("EIO");
      },
    });
    const log = await fixture.open(1, { fs });
    await fixture.fill(log, 2);
    failing = true;
    const refused = log.append(fixture.batch(1, 2));
    const behind = log.append(fixture.batch(1, 3));
    await expect(refused).rejects.toMatchObject({ code: "INNER", maybeApplied: true });
    await expect(refused).rejects.toThrow(/3 new segments.*0000000000000000\.log: EIO/);
    await expect(behind).rejects.toThrow("EIO");
    expect(failed).toBe(4);
    failing = false;
    await expect(log.append(fixture.batch(1, 2))).rejects.toThrow("EIO");
    expect(await sequencesOf(log)).toEqual([0, 1]);
    await log.close();
    expect(await fixture.files(1)).toEqual([name(0)]);
    // It stands there all the same, and others may have read it: so it stays.
    expect(await sequencesOf(await fixture.openReader())).toEqual([0, 1, 2]);
    const next = await fixture.open(2);
    expect(await sequencesOf(next)).toEqual([0, 1, 2]);
    await fixture.fill(next, 4);
    expect((await collect(next)).map(({ term }) => term)).toEqual([1, 1, 1, 2]);
  });

  test("failures that are not in a row do not end the log", async () => {
    let writes = 0;
    const fs = createFaultyFiles({
      async write({ path, go }) {
        if (path.includes(".log") && writes++ % 3 !== 0) throw systemError("EIO");
        return go();
      },
    });
    const log = await fixture.open(1, { fs });
    await fixture.fill(log, 20);
    expect(await sequencesOf(log)).toEqual(range(0, 20));
    expect(await sequencesOf(await fixture.open(2))).toEqual(range(0, 20));
  });

  test("a folder that cannot be synced counts as one, and nothing is acknowledged before it is", async () => {
    let failures = 0;
    const fs = createFaultyFiles({
      before(operation, path) {
        if (operation === "syncFolder" && path === fixture.folder(1) && failures-- > 0) {
          throw systemError("EIO");
        }
      },
    });
    const log = await fixture.open(1, { fs, segmentBytes: 4096 });
    failures = 2;
    await fixture.fill(log, 9, 1000);
    expect(await sequencesOf(log)).toEqual(range(0, 9));
    failures = 3;
    await expect(fixture.fill(log, 20, 1000)).rejects.toThrow("EIO");
    const { next } = log.bounds();
    expect(await sequencesOf(log)).toEqual(range(0, next));
    // The segment that got a name holds a batch that was not acknowledged, but may have been read.
    expect(await fixture.files(1)).toContain(name(next));
    expect(await sequencesOf(await fixture.open(2))).toEqual(range(0, next + 1));
  });
});

describe("a batch of a poisoned segment", () => {
  /** A log whose batch 2 stands whole in the first segment, and once more in the next. */
  async function roll(): Promise<void> {
    let failing = false;
    const fs = createFaultyFiles({
      async write({ go }) {
        const written = await go();
        if (!failing) return written;
        failing = false;
        throw systemError("EIO");
      },
    });
    const log = await fixture.open(1, { fs });
    await fixture.fill(log, 2);
    failing = true;
    await fixture.fill(log, 4);
    await cp(join(fixture.dir, pchannel), join(fixture.dir, "crashed"), { recursive: true });
  }

  test("counts neither for readers nor for owners once the next segment stands", async () => {
    await roll();
    const damaged = join(fixture.folder(1), name(2));
    const bytes = await readFile(damaged);
    await writeFile(damaged, bytes.fill(0, 0, 8));
    // Batch 2 is whole in the old segment, but that is not where it is looked for.
    const problem = `batch 2 is damaged at byte 0 of ${damaged}`;
    await expect(fixture.openReader()).rejects.toThrow(problem);
    await expect(fixture.open(2)).rejects.toThrow(problem);
  });

  test("may count while the next segment has no name yet, as one that was cut off", async () => {
    await roll();
    await rm(join(fixture.dir, pchannel), { recursive: true });
    await cp(join(fixture.dir, "crashed"), join(fixture.dir, pchannel), { recursive: true });
    await rm(join(fixture.folder(1), name(2)));
    expect(await sequencesOf(await fixture.openReader())).toEqual([0, 1, 2]);
    const next = await fixture.open(2);
    expect(await sequencesOf(next)).toEqual([0, 1, 2]);
    await fixture.fill(next, 4);
    expect((await collect(next)).map(({ term }) => term)).toEqual([1, 1, 1, 2]);
  });

  test("that the next owner took in stays, whatever the old owner still does", async () => {
    let entered: (() => void) | undefined;
    const inRoll = new Promise<void>((resolve) => {
      entered = resolve;
    });
    let resume: (() => void) | undefined;
    const resumed = new Promise<void>((resolve) => {
      resume = resolve;
    });
    let kind = 0;
    const fs = createFaultyFiles({
      async write({ path, go, position }) {
        if (kind === 0 || !path.includes(".log")) return go();
        if (position > 0) {
          await go();
          throw systemError("ENOSPC");
        }
        entered?.();
        await resumed;
        return go();
      },
    });
    const old = await fixture.open(1, { fs });
    await fixture.fill(old, 2);
    kind = 1;
    await expect(old.append(fixture.batch(1, 2))).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    const late = old.append(fixture.batch(1, 2, 10, kind));
    const ended = expect(late).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
    await inRoll;
    const next = await fixture.open(2);
    const before = (await collect(next)).map(({ bytes }) => bytes.slice());
    expect(before.length).toBe(3);
    resume?.();
    await ended;
    expect(await fixture.files(1)).toEqual(expect.arrayContaining([name(0), name(2)]));
    for (const reader of [next, await fixture.openReader(), await fixture.open(3)]) {
      expect((await collect(reader)).map(({ bytes }) => bytes)).toEqual(before);
    }
  });
});

describe("a full disk", () => {
  let full: boolean;
  let partial: boolean;
  const faults: Faults = {
    async write(call) {
      if (!full) return call.go();
      if (partial) return short(call, 64);
      throw systemError("ENOSPC");
    },
    before(operation) {
      if (full && operation === "link") throw systemError("ENOSPC");
    },
  };
  beforeEach(() => {
    full = false;
    partial = false;
  });

  for (const code of ["ENOSPC", "EDQUOT"]) {
    test(`${code} refuses this batch and those behind it, keeps reads, and recovers`, async () => {
      const fs = createFaultyFiles({
        async write({ go }) {
          if (full) throw systemError(code);
          return go();
        },
      });
      const log = await fixture.open(1, { fs });
      await fixture.fill(log, 3);
      full = true;
      const refused = [3, 4, 5].map((sequence) => log.append(fixture.batch(1, sequence)));
      for (const append of refused) {
        await expect(append).rejects.toMatchObject({
          code: "RESOURCE_EXHAUSTED",
          maybeApplied: true,
          retryAfterMs: 1000,
          retryable: true,
          message: expect.stringContaining("free space"),
        });
      }
      for (let i = 0; i < 5; i++) {
        await expect(log.append(fixture.batch(1, 3))).rejects.toThrow(code);
        expect(await sequencesOf(log)).toEqual([0, 1, 2]);
        expect(await sequencesOf(await fixture.openReader())).toEqual([0, 1, 2]);
      }
      // Nothing is left of the attempts.
      expect(await fixture.files(1)).toEqual([name(0)]);
      full = false;
      await log.append(fixture.batch(1, 3, 10, 7));
      await fixture.fill(log, 6);
      const batches = await collect(log);
      expect(batches.map(({ sequence }) => sequence)).toEqual(range(0, 6));
      expect([...(batches[3] as (typeof batches)[0]).messages()][0]?.payload[0]).toBe(7);
      expect(await sequencesOf(await fixture.open(2))).toEqual(range(0, 6));
    });
  }

  test("a batch that was handed in before the refusal was known is refused like the one before it", async () => {
    const log = await fixture.open(1, { fs: createFaultyFiles(faults) });
    full = true;
    await expect(log.append(fixture.batch(1, 0))).rejects.toThrow("free space");
    await expect(log.append(fixture.batch(1, 1))).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
    });
    full = false;
    await fixture.fill(log, 2);
    expect(await sequencesOf(log)).toEqual([0, 1]);
  });

  test("a short write is tried in a new segment, and refused when that has no space either", async () => {
    const log = await fixture.open(1, { fs: createFaultyFiles(faults) });
    await fixture.fill(log, 2);
    full = true;
    partial = true;
    const refused = log.append(fixture.batch(1, 2));
    partial = false;
    await expect(refused).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
    full = false;
    await fixture.fill(log, 4);
    expect(await sequencesOf(log)).toEqual(range(0, 4));
  });

  test("that there is no space for zeros behind a batch does not matter to it", async () => {
    const fs = createFaultyFiles({
      write: ({ parts, go }) => go(parts.slice(0, 1)),
    });
    const log = await fixture.open(1, { fs });
    await fixture.fill(log, 5);
    expect(await fixture.files(1)).toEqual([name(0)]);
    expect(await sequencesOf(log)).toEqual(range(0, 5));
  });

  test("a spare needs no space: the log goes on in it", async () => {
    const fs = createFaultyFiles({
      async write(call) {
        if (full && call.path.includes(".log") && !spare.has(call.path))
          throw systemError("ENOSPC");
        return call.go();
      },
      before(operation, path) {
        if (operation === "rename" && path.endsWith(".tmp")) spare.add(path);
      },
    });
    const spare = new Set<string>();
    const log = await fixture.open(1, { fs, segmentBytes: 4096 });
    await fixture.fill(log, 12, 1000);
    await log.truncate(9);
    full = true;
    await fixture.fill(log, 13, 1000);
    expect(log.bounds().next).toBe(13);
  });

  test("a reader of a log whose end cannot be written down reads it as it stands", async () => {
    const fs = createFaultyFiles(faults);
    const old = await fixture.open(1, { fs });
    await fixture.fill(old, 3);
    // As an owner leaves it that died right after its fence.
    await mkdir(fixture.folder(2));
    await writeFile(join(fixture.folder(1), "fence"), noteOf("2"));
    full = true;
    expect(await sequencesOf(await fixture.openReader({ fs }), 0)).toEqual([0, 1, 2]);
    expect(await fixture.files(1)).not.toContain("end");
    full = false;
    expect(await sequencesOf(await fixture.openReader({ fs }), 0)).toEqual([0, 1, 2]);
    expect(await fixture.files(1)).toContain("end");
  });
});
