/**
 * How long one durable append takes on a log that nobody else writes to.
 *
 * @module
 */

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Figures, measureInTurn, quantile, timed } from "../measure.ts";
import type { Measurement, Target } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { batchesOf, createMessages, openLog } from "./millrace.node.ts";
import { startNode } from "./node.node.ts";
import { createRawFile } from "./raw.node.ts";

const recordBytes = 256;

/** Measures the median and the 99th percentile, in process and over HTTP, in turn with raw writes. */
export async function* measureLatency(options: SuiteOptions): AsyncGenerator<Measurement> {
  const { rounds, quick } = options;
  const dir = join(options.dir, "latency");
  await mkdir(dir);
  const log = await openLog({ dir: join(dir, "log"), recycle: true });
  const node = await startNode(join(dir, "node"), recordBytes);
  const raw = await createRawFile(join(dir, "raw"));
  const messages = createMessages(1, recordBytes);
  const appends = quick ? 50 : 2000;

  const times = async (commit: () => Promise<unknown>): Promise<number[]> => {
    const all: number[] = [];
    for (let i = 0; i < appends; i++) all.push(await timed(commit));
    return all;
  };
  const { bytes } = await batchesOf(log.wal, () => times(() => log.commit(messages)));
  await times(() => node.append());

  const tails = new Map<string, number[]>();
  const subject = (name: string, commit: () => Promise<unknown>) => ({
    name,
    async run() {
      const all = await times(commit);
      tails.set(name, [...(tails.get(name) ?? []), quantile(all, 0.99)]);
      return quantile(all, 0.5);
    },
  });
  const medians = await measureInTurn(
    [
      subject("in process", () => log.commit(messages)),
      subject("over HTTP", () => node.append()),
      subject("raw", () => raw.write(bytes)),
    ],
    rounds,
  );
  await log.close();
  await node.close();
  await raw.close();
  await rm(dir, { recursive: true });

  const report = (where: string, what: string, figures: Figures, target?: Target): Measurement => ({
    name: `one append ${recordBytes} B ${where}, ${what}`,
    unit: "ms",
    runs: figures.get(where) ?? [],
    peers: [{ name: "raw", runs: figures.get("raw") ?? [], target }],
  });
  yield report("in process", "p50", medians);
  yield report("in process", "p99", tails);
  yield report("over HTTP", "p50", medians, { atMost: 3 });
  yield report("over HTTP", "p99", tails);
}
