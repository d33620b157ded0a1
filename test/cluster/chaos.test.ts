import { expect, test } from "vitest";
import { startCephRgw } from "../services/ceph-rgw.ts";
import { bucket } from "../services/environment.ts";
import { runChaos } from "./chaos.ts";
import { inFolder } from "./folder.ts";

const seconds = Number(process.env.MILLRACE_CHAOS_SECONDS ?? 60);
const seed = Number(process.env.MILLRACE_CHAOS_SEED ?? 1);
const log = (line: string): void => void process.stderr.write(`${line}\n`);

test(`a cluster that is broken for ${seconds} s loses and doubles nothing, and is whole 10 s later`, {
  timeout: seconds * 1000 + 600_000,
}, async () => {
  log(`chaos: ${seconds} s from seed ${seed}`);
  await using s3 = await startCephRgw();
  await s3.createBucket(bucket);
  await inFolder("chaos", async (folder) => {
    const { wrong, totals, servedAfterMs } = await runChaos({ folder, seconds, seed, s3, log });
    log(
      `logs: ${totals.batches} batches of ${totals.terms} terms, ${totals.messages} messages of inserts; ` +
        `tables: ${totals.rows} rows; judged: ${totals.events} events, ${wrong.length} faults found`,
    );
    expect(wrong, `seed ${seed}`).toEqual([]);
    expect(servedAfterMs, `seed ${seed}`).toBeLessThan(10_000);
  });
});
