import type { FileSystem } from "@millrace/wal/file";
import { expect, test } from "vitest";
import { cutEverywhere, type PowerCutOptions, type PowerCutTotals } from "./power-cut.ts";
import type { Operation } from "./simulated-file-system.ts";

/** How often the power is cut, at least. */
const cuts = Number(process.env.MILLRACE_TEST_CUTS ?? 5000);
const firstSeed = Number(process.env.MILLRACE_TEST_SEED ?? 1);
const steps = 30;
/** How many states of the disk are tried at each moment of a short life. */
const states = process.env.MILLRACE_TEST_FAULTS === "all" ? 4096 : 64;

test(
  `of ${cuts} power cuts, none loses or doubles what was acknowledged`,
  async () => {
    const sum: PowerCutTotals = {
      cuts: 0,
      again: 0,
      incomplete: 0,
      operations: 0,
      acknowledged: 0,
      takeovers: 0,
      truncations: 0,
    };
    let seed = firstSeed;
    for (; sum.cuts < cuts; seed++) {
      const totals = await cutEverywhere({ seed, steps });
      for (const name of Object.keys(sum) as (keyof PowerCutTotals)[]) sum[name] += totals[name];
    }
    console.log(
      `power cuts: ${sum.cuts}, ${sum.again} of them during or after a recovery, in the lives of ` +
        `${seed - firstSeed} machines with ${sum.acknowledged} acknowledged appends, ` +
        `${sum.takeovers} takeovers and ${sum.truncations} truncations: ` +
        `lost 0, doubled 0 (seeds ${firstSeed} to ${seed - 1})`,
    );
  },
  60_000 + cuts * 10,
);

test(
  "in whatever state a power cut leaves the disk, what was acknowledged is there",
  async () => {
    const totals = await cutEverywhere({ seed: firstSeed, steps: 3, states });
    console.log(
      `power cuts: ${totals.cuts} states of the disk at ${totals.operations} moments of a life, of ` +
        `${totals.incomplete} the first ${states} only, of the others all: lost 0, doubled 0`,
    );
  },
  60_000 + states * 1000,
);

function lieAbout(kind: Operation["kind"], path = ""): Partial<PowerCutOptions> {
  return {
    fault: (operation) =>
      operation.kind === kind && operation.path.includes(path) ? { kind: "lie" } : undefined,
  };
}

/** A file system in which nobody sees a fence. */
const blind = (fs: FileSystem): FileSystem => ({
  ...fs,
  exists: (path) => !path.endsWith("fence") && fs.exists(path),
});

const planted: [string, Partial<PowerCutOptions>][] = [
  ["folders are not synced", lieAbout("sync folder")],
  ["the folder of a term is not synced", lieAbout("sync folder", "term-")],
  ["writes are answered before they are durable", lieAbout("write")],
  ["what a killed owner wrote is not made durable", lieAbout("write", ".last.log")],
  ["an owner does not see that it was followed", { wrap: blind }],
];

for (const [fault, options] of planted) {
  test(`it is noticed when ${fault}`, async () => {
    const run = async (): Promise<void> => {
      for (let seed = 1; seed <= 100; seed++) {
        await cutEverywhere({ seed, steps, sample: 0.1, ...options });
      }
    };
    await expect(run()).rejects.toThrow(/lost|missing|damaged|doubled|changed/);
  });
}
