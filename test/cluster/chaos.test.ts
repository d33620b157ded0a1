import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startCephRgw } from "../services/ceph-rgw.ts";
import { bucket } from "../services/environment.ts";
import { runChaos } from "./chaos.ts";

const seconds = Number(process.env.MILLRACE_CHAOS_SECONDS ?? 60);
const seed = Number(process.env.MILLRACE_CHAOS_SEED ?? 1);

test(`a cluster that is broken for ${seconds} s loses and doubles nothing, and is whole 10 s later`, {
  timeout: seconds * 1000 + 600_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-chaos-"));
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  log(`seed ${seed}, ${seconds} s, in ${folder}`);
  await using s3 = await startCephRgw();
  await s3.createBucket(bucket);
  const { wrong, totals, servedAfterMs } = await runChaos({ folder, seconds, seed, s3, log });
  log(
    `logs: ${totals.batches} batches of ${totals.terms} terms, ${totals.messages} inserts; tables: ` +
      `${totals.rows} rows; judged: ${totals.events} events, ${wrong.length} faults found`,
  );
  expect(wrong, `seed ${seed}; logs and histories are in ${folder}`).toEqual([]);
  expect(servedAfterMs, `seed ${seed}; logs are in ${folder}`).toBeLessThan(10_000);
  await rm(folder, { recursive: true, force: true });
});
