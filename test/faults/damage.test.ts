import { createSeededRandom } from "@millrace/types/testing";
import { describe, expect, test } from "vitest";
import { copyDisk, type DiskFolder, sectorBytes } from "./simulated-disk.ts";
import {
  contentOf,
  damage,
  damageHere,
  filesOf,
  judge,
  readLast,
  type SmallLog,
  type Verdict,
  writeIndexedLog,
  writeSmallLog,
} from "./small-log.ts";

// Without it, of what stands behind the last batch of a file and of the payload of the one large batch
// only every 16th byte and every 61st bit is damaged.
const everything = process.env.MILLRACE_TEST_FAULTS === "all";
const timeout = everything ? 2_400_000 : 240_000;

const logs: [string, SmallLog][] = [
  ["a log that was not closed", await writeSmallLog({ closed: false })],
  ["a log that was closed", await writeSmallLog({ closed: true })],
  ["a log that was truncated", await writeSmallLog({ closed: false, truncated: true })],
];

const other = await writeSmallLog({ closed: false, name: "b" });

function segmentsOf({ disk }: SmallLog): [string, Buffer][] {
  return [...filesOf(disk)]
    .filter(([path]) => path.endsWith(".log"))
    .map(([path, file]) => [path, contentOf(file)]);
}

/** Whether a byte is one of many of its kind: behind all batches, or in the middle of a large one. */
function isFiller({ places }: SmallLog, path: string, at: number): boolean {
  const place = places.find((each) => each.path === path && at >= each.start && at < each.end);
  if (!place) return /\.log$|spare/.test(path);
  return at - place.start > 512 && place.end - at > 64;
}

interface Counts extends Record<Verdict, number> {
  tried: number;
}

/** Judges one damage after the other, and counts. */
function createJudge(log: SmallLog): {
  counts: Counts;
  judge(disk: DiskFolder, what: string, late?: boolean): Promise<Verdict>;
} {
  const counts: Counts = { tried: 0, detected: 0, harmless: 0, torn: 0 };
  return {
    counts,
    async judge(disk, what, late) {
      try {
        const verdict = await judge(log, disk, late);
        counts.tried++;
        counts[verdict]++;
        return verdict;
      } catch (error) {
        throw new Error(`${what}: ${String(error)}`, { cause: error });
      }
    },
  };
}

function report(what: string, { tried, detected, harmless, torn }: Counts): void {
  console.log(
    `${what}: ${tried} tried, ${detected} detected, ${harmless} harmless, ` +
      `${torn} at the end taken for a write that was cut off, 0 silent`,
  );
}

describe.each(logs)("%s", (name, log) => {
  const last = log.places.at(-1);

  test("is read as it was written", async () => {
    const { judge } = createJudge(log);
    expect(await judge(copyDisk(log.disk), "as it is")).toBe("harmless");
  });

  test(
    "cut at any byte of any of its segments, gives what was acknowledged before, or an error",
    async () => {
      const { judge, counts } = createJudge(log);
      const garbage = createSeededRandom(1).bytes(4096);
      for (const [path, content] of segmentsOf(log)) {
        for (let at = 0; at < content.length; at++) {
          if (!everything && at % 16 > 0 && isFiller(log, path, at)) continue;
          const left = content.subarray(0, at);
          const behind = {
            nothing: left,
            zeros: Buffer.concat([left, Buffer.alloc(content.length - at)]),
            garbage: Buffer.concat([left, garbage.subarray(at)]),
          };
          for (const [kind, cut] of Object.entries(behind)) {
            const what = `${path} cut at ${at}, ${kind} behind it`;
            const verdict = await judge(
              damage(log.disk, path, () => cut),
              what,
            );
            // What a crash may leave must not need repair.
            const torn = !log.closed && path === last?.path && at > last.start && at < last.end;
            if (torn) expect(verdict, what).not.toBe("detected");
          }
        }
      }
      report(`${name}, cut`, counts);
    },
    timeout,
  );

  test("with a sector of zeros or garbage anywhere, is read whole, or up to there, or an error", async () => {
    const { judge, counts } = createJudge(log);
    const garbage = createSeededRandom(1).bytes(sectorBytes);
    for (const [path, content] of segmentsOf(log)) {
      for (let at = 0; at < content.length; at += sectorBytes) {
        for (const sector of [Buffer.alloc(sectorBytes), garbage]) {
          const damaged = Buffer.from(content);
          damaged.set(sector.subarray(0, content.length - at), at);
          await judge(
            damage(log.disk, path, () => damaged),
            `sector ${at} of ${path}`,
          );
        }
      }
    }
    report(`${name}, sectors`, counts);
  });

  test("with a file missing, in the place of another, or of another log, is read whole, or an error", async () => {
    const { judge, counts } = createJudge(log);
    const paths = [...filesOf(log.disk)].map(([path, file]) => [path, contentOf(file)] as const);
    const foreign = new Map(
      [...filesOf(other.disk)].map(([path, file]) => [path, contentOf(file)]),
    );
    for (const [path, content] of paths) {
      await judge(
        damage(log.disk, path, () => undefined),
        `${path} is missing`,
      );
      const stranger = foreign.get(path);
      if (stranger) {
        // The first file has nothing before it that it could fail to continue: only the next one does.
        await judge(
          damage(log.disk, path, () => stranger),
          `${path} is of another log`,
          true,
        );
      }
      for (const [second, instead] of paths) {
        if (second <= path) continue;
        const swapped = damage(log.disk, path, () => instead);
        damageHere(swapped, second, () => content);
        await judge(swapped, `${path} and ${second} are swapped`);
      }
    }
    report(`${name}, files`, counts);
  });

  test(
    "with any bit of any file flipped, is read as it was written, or an error names the place",
    async () => {
      const { judge, counts } = createJudge(log);
      for (const [path, file] of filesOf(log.disk)) {
        const content = contentOf(file);
        for (let bit = 0; bit < content.length * 8; bit++) {
          const at = bit >>> 3;
          if (!everything && bit % 61 > 0 && isFiller(log, path, at)) continue;
          const flipped = Buffer.from(content);
          flipped[at] = (content[at] ?? 0) ^ (1 << (bit & 7));
          await judge(
            damage(log.disk, path, () => flipped),
            `bit ${bit & 7} of byte ${at} of ${path}`,
          );
        }
      }
      report(`${name}, bits`, counts);
    },
    timeout,
  );
});

test("a bit flipped in an index changes nothing", async () => {
  const log = await writeIndexedLog();
  const index = [...filesOf(log.disk)].find(([path]) => path.endsWith(".index"));
  expect(index).toBeDefined();
  const [path = "", file] = index ?? [];
  const content = file ? contentOf(file) : Buffer.alloc(0);
  for (let bit = 0; bit < content.length * 8; bit++) {
    const disk = damage(log.disk, path, (bytes) => {
      bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      return bytes;
    });
    const read = await readLast(log, disk);
    expect(
      read.map(({ checksum }) => checksum),
      `bit ${bit} of ${path}`,
    ).toEqual([log.batches.at(-1)?.checksum]);
  }
});
