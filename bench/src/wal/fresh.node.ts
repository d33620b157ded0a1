/**
 * Appends to a log that was never truncated: every file is new.
 *
 * @module
 */

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { commitsPerSecond, measureInTurn } from "../measure.ts";
import type { Measurement } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { batchesOf, createMessages, openLog } from "./millrace.node.ts";
import { createRawFile } from "./raw.node.ts";

const appenders = 1024;
const recordBytes = 1024;

/** Measures one load, with a new log in each run. */
export async function* measureFresh(options: SuiteOptions): AsyncGenerator<Measurement> {
  const { rounds, ms } = options;
  const dir = join(options.dir, "fresh");
  await mkdir(dir);
  const raw = await createRawFile(join(dir, "raw"));
  const messages = createMessages(1, recordBytes);
  let formed = { appends: 0, bytes: 0 };

  async function runLog(): Promise<number> {
    const log = await openLog({ dir: join(dir, "log") });
    let rate = 0;
    formed = await batchesOf(log.wal, async () => {
      rate = await commitsPerSecond(() => log.commit(messages), appenders, ms);
    });
    await log.close();
    await rm(join(dir, "log"), { recursive: true });
    return rate;
  }
  async function runRaw(): Promise<number> {
    return (await commitsPerSecond(() => raw.write(formed.bytes), 1, ms)) * formed.appends;
  }

  const figures = await measureInTurn(
    [
      { name: "millrace", run: runLog },
      { name: "raw", run: runRaw },
    ],
    rounds,
  );
  await raw.close();
  await rm(dir, { recursive: true });
  yield {
    name: `append ${recordBytes} B, 1 per commit, ${appenders} appenders, only new files`,
    unit: "records/s",
    runs: figures.get("millrace") ?? [],
    peers: [{ name: "raw", runs: figures.get("raw") ?? [] }],
  };
}
