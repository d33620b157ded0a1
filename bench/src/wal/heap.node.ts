/**
 * Whether memory grows with what was appended.
 *
 * @module
 */

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Measurement } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { createMessages, openLog } from "./millrace.node.ts";

const appenders = 1024;
const recordBytes = 256;
const samples = 10;
/** Samples before this one are of a process that still warms up. */
const settled = 2;

/** Measures the heap and the resident memory after the last appends, against those after the first. */
export async function* measureHeap(options: SuiteOptions): AsyncGenerator<Measurement> {
  const { appends } = options;
  const dir = join(options.dir, "heap");
  await mkdir(dir);
  const log = await openLog({ dir, recycle: true });
  const messages = createMessages(1, recordBytes);
  const collectGarbage = exposeGc();
  const heap: number[] = [];
  const resident: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    let left = Math.ceil(appends / samples);
    const appender = async (): Promise<void> => {
      while (left-- > 0) await log.commit(messages);
    };
    await Promise.all(Array.from({ length: appenders }, appender));
    collectGarbage();
    const { heapUsed, rss } = process.memoryUsage();
    heap.push(heapUsed / 2 ** 20);
    resident.push(rss / 2 ** 20);
  }
  await log.close();
  await rm(dir, { recursive: true });
  const growth = (all: number[]): number[] => {
    const from = all[settled] ?? Number.NaN;
    return all.slice(settled + 1).map((value) => value - from);
  };
  const over = `over ${appends.toLocaleString("en").replaceAll(",", " ")} appends`;
  yield {
    name: `growth of the heap after collection, ${over}`,
    unit: "MiB",
    runs: growth(heap),
    target: { atMost: 2 },
  };
  yield {
    name: `growth of resident memory, ${over}`,
    unit: "MiB",
    runs: growth(resident),
    target: { atMost: 64 },
  };
}

function exposeGc(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
