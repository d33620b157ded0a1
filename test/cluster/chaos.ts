/**
 * A cluster that is broken while load runs, and what is said of it in the end.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import { createSeededRandom } from "@millrace/types/testing";
import type { S3Server } from "../services/ceph-rgw.ts";
import { createCatalogUser, schema } from "./catalog.ts";
import type { ChaosCluster } from "./cluster.ts";
import { createFaults } from "./faults.ts";
import { type Session, startSession, statusOf } from "./session.ts";
import { createTail, type Tail } from "./tail.ts";
import type { Verdict } from "./verdict.ts";
import { inTime, until } from "./waiting.ts";
import { createWriter, type Writer } from "./writer.ts";

/** Options of {@linkcode runChaos}. */
export interface ChaosOptions {
  folder: string;
  /** For how long the cluster is broken. */
  seconds: number;
  seed: number;
  /** Where tables lie; without it in a folder. */
  s3?: S3Server | undefined;
  log: (line: string) => void;
}

/** What came of a run. */
export interface ChaosResult extends Verdict {
  /** From the end of the last fault until everything was served, in milliseconds. */
  servedAfterMs: number;
}

const collections = { load_a: 4, load_b: 2, load_c: 1 };
const writerCount = 4;

/** Breaks a cluster, heals it, and judges what it did. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { folder, s3 } = options;
  const session = await startSession({ folder, s3, collections });
  try {
    const servedAfterMs = await loadAndBreak({ ...options, ...session });
    return { ...(await session.end()), servedAfterMs };
  } finally {
    await session.destroy();
  }
}

type Run = ChaosOptions & Session;

async function loadAndBreak(run: Run): Promise<number> {
  const { cluster, record, proxies, admins, targets, seed, seconds, log } = run;
  const randomOf = (index: number) => createSeededRandom(seed * 1000 + index);
  const writers = Array.from({ length: writerCount }, (_, index) =>
    createWriter({
      ...{ name: `w${index}`, proxies, targets, record, random: randomOf(index), pauseMs: 60 },
    }),
  );
  const tails = proxies.flatMap((proxy, index) =>
    targets.map((target, at) => {
      const name = `tail of proxy ${index}`;
      const random = randomOf(100 + 10 * index + at);
      return createTail({ name, proxy, target, record, random, breaks: 0.002 });
    }),
  );
  const catalog = createCatalogUser({
    ...{ proxies, targets, record, random: randomOf(200), pauseMs: 700 },
  });
  const faults = createFaults({
    ...{ cluster, admins, random: randomOf(300), hasS3: run.s3 !== undefined },
    log: (what) => log(`${secondsSince(began)} ${what}`),
  });
  const began = performance.now();
  const flushing = new AbortController();
  const tailing = Promise.all(tails.map((tail) => tail.run()));
  const flushed = flushNowAndThen(run, flushing.signal);
  const working = Promise.all([...writers, catalog].map((user) => user.run()));
  await faults.run(began + seconds * 1000);

  const healed = performance.now();
  log(`${secondsSince(began)} all is whole`);
  await inTime(60_000, "everything is served", untilServed(run, tails));
  const servedAfterMs = performance.now() - healed;
  log(`${secondsSince(began)} everything is served, after ${Math.round(servedAfterMs)} ms`);

  flushing.abort();
  for (const user of [...writers, catalog]) user.stop();
  await inTime(60_000, "all that was asked for is done", Promise.all([working, flushed]));
  const last = await run.writeToAll("last");
  await inTime(60_000, "tails are at the end", Promise.all(tails.map((tail) => tail.until(last))));
  for (const tail of tails) tail.stop();
  await tailing;
  await inTime(120_000, "everything can be tailed again", tailAll(run, last));
  for (const wrong of await catalog.check()) record.surprise(wrong);
  log(describeTotals(writers, tails, catalog.totals, faults.counts, cluster));
  return servedAfterMs;
}

/** Each proxy takes rows for every shard, a change of the catalog is made, no node is missing. */
async function untilServed(run: Run, tails: readonly Tail[]): Promise<void> {
  const { proxies, admins, cluster } = run;
  const writes = proxies.map((proxy, index) => run.writeToAll(`healed-${index}`, proxy));
  const change = async (): Promise<void> => {
    const name = "healed";
    for (const proxy of proxies) {
      await until(async () => !!(await proxy.createCollection({ name, shards: 16, schema })));
      await until(async () => !!(await proxy.dropCollection({ name })));
    }
  };
  const isWhole = async (): Promise<boolean> => {
    const { nodes, pchannels, broadcasts } = await statusOf(admins);
    const able = nodes.filter(({ alive, frozen, draining }) => alive && !frozen && !draining);
    // What was begun just now is of the client that still changes the catalog.
    const isStuck = broadcasts.some(({ sinceMs }) => Number(sinceMs) < Date.now() - 10_000);
    const areServed = pchannels.every(({ state }) => state === "assigned");
    return able.length === cluster.nodes.length && areServed && !isStuck;
  };
  await Promise.all([...writes, change(), until(isWhole)]);
  await Promise.all(tails.map((tail) => tail.more()));
}

/** New readers read everything, through both proxies. */
async function tailAll(run: Run, last: ReadonlyMap<string, string>): Promise<void> {
  const { proxies, targets, record } = run;
  const random = createSeededRandom(1);
  const tails = proxies.flatMap((proxy, index) =>
    targets.map((target) => {
      const name = `last tail of proxy ${index}`;
      return createTail({ name, proxy, target, record, random, breaks: 0 });
    }),
  );
  const tailing = tails.map((tail) => tail.run());
  await Promise.all(tails.map((tail) => tail.until(last)));
  for (const tail of tails) tail.stop();
  await Promise.all(tailing);
}

/** Asks for flushes while the cluster is broken, so that rows become tables in parts. */
async function flushNowAndThen({ proxies, targets }: Run, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; turn++) {
    const { collection = "" } = targets[turn % targets.length] ?? {};
    await proxies[turn % proxies.length]
      ?.flush({ collection }, { signal: AbortSignal.any([signal, AbortSignal.timeout(5000)]) })
      .catch(() => undefined);
    await sleep(2000, undefined, { signal }).catch(() => undefined);
  }
}

function secondsSince(began: number): string {
  return `+${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s`;
}

function describeTotals(
  writers: readonly Writer[],
  tails: readonly Tail[],
  catalog: { changes: number; attempts: number; longestMs: number },
  faults: ReadonlyMap<string, number>,
  cluster: ChaosCluster,
): string {
  const sum = (pick: (totals: Writer["totals"]) => number): number =>
    writers.reduce((all, { totals }) => all + pick(totals), 0);
  const messages = tails.reduce((all, { totals }) => all + totals.messages, 0);
  const resumed = tails.reduce((all, { totals }) => all + totals.resumed, 0);
  const gap = Math.max(...writers.map(({ totals }) => totals.longestGapMs));
  const starts = cluster.members.reduce((all, member) => all + member.failedStarts(), 0);
  return [
    `inserts: ${sum((t) => t.inserts)} of ${sum((t) => t.rows)} rows, ${sum((t) => t.acknowledged)} acknowledged ` +
      `(${sum((t) => t.duplicates)} by a later attempt), ${sum((t) => t.givenUp)} given up, ` +
      `${sum((t) => t.unknownAttempts)} attempts unknown, ${sum((t) => t.failedAttempts)} failed, ` +
      `longest gap ${(gap / 1000).toFixed(1)} s`,
    `tails: ${messages} messages, gone on ${resumed} times`,
    `catalog: ${catalog.changes} changes in ${catalog.attempts} attempts, longest ${(catalog.longestMs / 1000).toFixed(1)} s`,
    `faults: ${[...faults].map(([kind, count]) => `${kind} ${count}`).join(", ")}; starts in vain: ${starts}`,
  ].join("\n");
}
