/**
 * How long a log takes to open that was closed in order.
 *
 * @module
 */

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { measureInTurn, timed } from "../measure.ts";
import type { Measurement } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { createMessages, type MeasuredLog, openLog } from "./millrace.node.ts";

const recordBytes = 256;
const perCommit = 1000;

/** Measures the opening at the next term, with what the owner before has kept beside the log. */
export async function* measureOpen(options: SuiteOptions): AsyncGenerator<Measurement> {
  const dir = join(options.dir, "open");
  await mkdir(dir);
  const records = options.quick ? 10_000 : 1_000_000;
  let log = await openLog({ dir });
  let term = 1;
  const messages = createMessages(perCommit, recordBytes);
  for (let written = 0; written < records; written += perCommit) await log.commit(messages);

  async function closeAndOpen(): Promise<number> {
    await log.close();
    term++;
    let next: MeasuredLog = log;
    const ms = await timed(async () => {
      next = await openLog({ dir, term });
    });
    log = next;
    // A log in use: the next owner has something to read.
    await log.commit(messages);
    return ms;
  }

  const figures = await measureInTurn([{ name: "millrace", run: closeAndOpen }], options.rounds);
  await log.close();
  await rm(dir, { recursive: true });
  yield {
    name: `open a log of ${records} records after a clean close`,
    unit: "ms",
    runs: figures.get("millrace") ?? [],
    target: { atMost: 200 },
  };
}
