/**
 * Appends per second: sizes of records, records per commit, and appenders at once.
 *
 * @module
 */

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { commitsPerSecond, measureInTurn } from "../measure.ts";
import type { Measurement, Target } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { openLmdb } from "./lmdb.node.ts";
import {
  batchesOf,
  createMessages,
  createRecord,
  type MeasuredLog,
  openLog,
} from "./millrace.node.ts";
import { createRawFile, type RawFile } from "./raw.node.ts";
import { openSqlite } from "./sqlite.node.ts";
import type { Store } from "./store.ts";

/** What is appended in one measurement. */
interface Load {
  recordBytes: number;
  perCommit: number;
  appenders: number;
}

/** More than a log lets wait is not offered: all would measure how they push back. */
const maxWaitingBytes = 64 * 1024 * 1024;

const loads: Load[] = [256, 1024]
  .flatMap((recordBytes) =>
    [1, 100, 1000].flatMap((perCommit) =>
      [1, 64, 1024].map((appenders) => ({ recordBytes, perCommit, appenders })),
    ),
  )
  .filter((load) => load.recordBytes * load.perCommit * load.appenders <= maxWaitingBytes);
const quickLoads: Load[] = [
  { recordBytes: 1024, perCommit: 1, appenders: 64 },
  { recordBytes: 256, perCommit: 100, appenders: 1 },
];

/** Measures each load on a log in use, in turn with raw writes of the same bytes, and with the peers. */
export async function* measureAppends(options: SuiteOptions): AsyncGenerator<Measurement> {
  const dir = join(options.dir, "append");
  await mkdir(dir);
  const log = await openLog({ dir: join(dir, "log"), recycle: true });
  const raw = await createRawFile(join(dir, "raw"));
  try {
    await warmUp(log, options);
    for (const load of options.quick ? quickLoads : loads) {
      yield await measureLoad(load, log, raw, dir, options);
    }
  } finally {
    await log.close();
    await raw.close();
    await rm(dir, { recursive: true });
  }
}

/** Until files are written again and not anew, and the code is compiled. */
async function warmUp(log: MeasuredLog, { quick }: SuiteOptions): Promise<void> {
  const messages = createMessages(100, 1024);
  for (let i = 0; i < (quick ? 10 : 4000); i += 10) {
    await Promise.all(Array.from({ length: 10 }, () => log.commit(messages)));
  }
}

async function measureLoad(
  load: Load,
  log: MeasuredLog,
  raw: RawFile,
  dir: string,
  { rounds, ms }: SuiteOptions,
): Promise<Measurement> {
  const { recordBytes, perCommit, appenders } = load;
  const messages = createMessages(perCommit, recordBytes);
  const record = createRecord(recordBytes);
  const sqlite = openSqlite(join(dir, "sqlite"));
  const lmdb = openLmdb(join(dir, "lmdb"));
  /** Of the batches that the log formed in its last run. */
  let batchRecords = perCommit;
  let batchBytes = 0;

  async function runLog(): Promise<number> {
    let rate = 0;
    const formed = await batchesOf(log.wal, async () => {
      rate = await commitsPerSecond(() => log.commit(messages), appenders, ms);
    });
    batchRecords = formed.appends * perCommit;
    batchBytes = formed.bytes;
    return rate * perCommit;
  }
  async function runRaw(): Promise<number> {
    return (await commitsPerSecond(() => raw.write(batchBytes), 1, ms)) * batchRecords;
  }
  const runStore = (store: Store) => async (): Promise<number> =>
    (await commitsPerSecond(() => store.commit(perCommit, record), appenders, ms)) * perCommit;

  const figures = await measureInTurn(
    [
      { name: "millrace", run: runLog },
      { name: "raw", run: runRaw },
      { name: "better-sqlite3", run: runStore(sqlite) },
      { name: "lmdb", run: runStore(lmdb) },
    ],
    rounds,
  );
  await sqlite.close();
  await lmdb.close();
  for (const name of ["sqlite", "sqlite-wal", "sqlite-shm", "lmdb", "lmdb-lock"]) {
    await rm(join(dir, name), { recursive: true, force: true });
  }
  const targets = targetsOf(load);
  return {
    name: `append ${recordBytes} B, ${perCommit} per commit, ${appenders} appenders`,
    unit: "records/s",
    runs: figures.get("millrace") ?? [],
    peers: ["raw", "better-sqlite3", "lmdb"].map((name) => ({
      name,
      runs: figures.get(name) ?? [],
      target: targets[name],
    })),
  };
}

function targetsOf({ recordBytes, perCommit, appenders }: Load): Record<string, Target> {
  if (perCommit === 100) return { "better-sqlite3": { atLeast: 1.5 }, lmdb: { atLeast: 2 } };
  if (recordBytes === 1024 && appenders === 1024) return { raw: { atLeast: 0.8 } };
  return {};
}
