/**
 * What idempotency keys cost when as many are remembered as can be.
 *
 * @module
 */

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { commitsPerSecond, measureInTurn } from "../measure.ts";
import type { Measurement } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { createMessages, openLog } from "./millrace.node.ts";

const appenders = 1024;
const recordBytes = 256;
/** As many as a log remembers, and some more. */
const windowKeys = 300_000;

/** Measures appends with a key, in turn with appends without. */
export async function* measureKeys(options: SuiteOptions): AsyncGenerator<Measurement> {
  const { rounds, ms, quick } = options;
  const dir = join(options.dir, "keys");
  await mkdir(dir);
  const log = await openLog({ dir, recycle: true });
  const messages = createMessages(1, recordBytes);
  let next = 0;
  const withKey = () => log.commit(messages, `key ${next++}`);
  const fill = async (): Promise<void> => {
    while (next < (quick ? 1000 : windowKeys)) await withKey();
  };
  await Promise.all(Array.from({ length: appenders }, fill));

  const figures = await measureInTurn(
    [
      { name: "with", run: () => commitsPerSecond(withKey, appenders, ms) },
      {
        name: "without",
        run: () => commitsPerSecond(() => log.commit(messages), appenders, ms),
      },
    ],
    rounds,
  );
  await log.close();
  await rm(dir, { recursive: true });
  yield {
    name: `append ${recordBytes} B, 1 per commit, ${appenders} appenders, each with a key`,
    unit: "records/s",
    runs: figures.get("with") ?? [],
    peers: [{ name: "no keys", runs: figures.get("without") ?? [] }],
  };
}
