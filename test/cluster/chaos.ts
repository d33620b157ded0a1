/**
 * A cluster that is broken while load runs, and what is said of it in the end.
 *
 * @module
 */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { createTransportPool } from "@millrace/rpc/node";
import { type ObjectStore, openS3ObjectStore } from "@millrace/storage";
import { createFileObjectStore } from "@millrace/storage/file";
import { pchannelName } from "@millrace/types";
import { AdminService, ProxyService } from "@millrace/types/gen";
import { systemClock, systemRandom } from "@millrace/types/node";
import { createSeededRandom } from "@millrace/types/testing";
import type { S3Server } from "../services/ceph-rgw.ts";
import { bucket } from "../services/environment.ts";
import { createCatalogUser, schema } from "./catalog.ts";
import { type ChaosCluster, startCluster } from "./cluster.ts";
import { createFaults } from "./faults.ts";
import { watchOwners } from "./owners.ts";
import { createRecord, type Record, shardOf, type Target } from "./record.ts";
import { createTail, type Tail } from "./tail.ts";
import { judge, type Verdict } from "./verdict.ts";
import { createWriter, type Writer } from "./writer.ts";

/** Options of {@linkcode runChaos}. */
export interface ChaosOptions {
  folder: string;
  /** For how long the cluster is broken. */
  seconds: number;
  seed: number;
  /** Where tables lie; without it in a folder. */
  s3?: S3Server;
  log: (line: string) => void;
  /** Called before what was recorded is judged: a test of the test may change it. */
  tamper?: (record: Record) => void;
}

/** What came of a run. */
export interface ChaosResult extends Verdict {
  /** From the end of the last fault until everything was served, in milliseconds. */
  servedAfterMs: number;
}

const shards = new Map([
  ["load_a", 4],
  ["load_b", 2],
  ["load_c", 1],
]);
const writerCount = 4;

/** Breaks a cluster, heals it, and judges what it did. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { folder, s3 } = options;
  const record = createRecord();
  const cluster = await startCluster({
    folder,
    ...(s3 ? { s3 } : {}),
    onEnded: (_name, how) => record.surprise(how),
  });
  const pool = createTransportPool();
  try {
    const proxies = cluster.proxies.map(({ url }) =>
      createClient(ProxyService, pool.transportFor(url)),
    );
    const admins = cluster.proxies.map(({ url }) =>
      createClient(AdminService, pool.transportFor(url)),
    );
    const coords = cluster.coords.map(({ url }) => pool.transportFor(url));
    const run: Run = { ...options, cluster, record, proxies, admins, targets: [] };
    for (const [name, count] of shards) {
      const created = await proxies[0]?.createCollection({ name, shards: count, schema });
      run.targets.push({ collection: name, vchannels: created?.collection?.vchannels ?? [] });
    }
    const watched = new AbortController();
    const watching = watchOwners(coords, record, watched.signal);
    const servedAfterMs = await loadAndBreak(run);
    const tablePaths = await flushAll(run);
    watched.abort();
    await watching;
    pool.close();
    await cluster.stop();
    options.tamper?.(record);
    const verdict = await judge({
      ...{ record, folder, tablePaths, targets: run.targets, walFolder: cluster.walFolder },
      pchannels: Array.from({ length: 16 }, (_, index) => pchannelName("millrace", index)),
      store: await openStore(folder, s3),
    });
    return { ...verdict, wrong: [...record.surprises, ...verdict.wrong], servedAfterMs };
  } finally {
    pool.close();
    await cluster.destroy();
  }
}

interface Run extends ChaosOptions {
  cluster: ChaosCluster;
  record: Record;
  proxies: Client<typeof ProxyService>[];
  admins: Client<typeof AdminService>[];
  targets: Target[];
}

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
  const last = await writeLast(run, "last");
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
  const writes = proxies.map((_, index) => writeLast(run, `healed-${index}`, index));
  const change = async (): Promise<void> => {
    const [proxy] = proxies;
    const name = "healed";
    await untilDone(() => proxy?.createCollection({ name, shards: 16, schema }));
    await untilDone(() => proxy?.dropCollection({ name }));
  };
  const status = async (): Promise<void> => {
    for (;;) {
      const [admin] = admins;
      const found = await admin?.getClusterStatus({}).catch(() => undefined);
      const alive = found?.nodes.filter((node) => node.alive && !node.frozen && !node.draining);
      const isServed = found?.pchannels.every(({ state }) => state === "assigned");
      // What is under way now is of the client that still changes the catalog.
      const oldest = Date.now() - 10_000;
      const isStuck = found?.broadcasts.some(({ sinceMs }) => Number(sinceMs) < oldest);
      if (alive?.length === cluster.nodes.length && isServed && !isStuck) return;
      await sleep(50);
    }
  };
  await Promise.all([...writes, change(), status()]);
  await Promise.all(tails.map((tail) => tail.more()));
}

async function untilDone(call: () => Promise<unknown> | undefined): Promise<void> {
  for (;;) {
    try {
      await call();
      return;
    } catch {
      await sleep(50);
    }
  }
}

/** Inserts a row into each shard; answers the name of its message by vchannel. */
async function writeLast(run: Run, name: string, proxy?: number): Promise<Map<string, string>> {
  const { proxies, targets, record } = run;
  const through = proxy === undefined ? proxies : proxies.slice(proxy, proxy + 1);
  const writer = createWriter({
    ...{ name, proxies: through, targets, record, random: createSeededRandom(1), pauseMs: 0 },
  });
  const last = new Map<string, string>();
  for (const target of targets) {
    for (const [shard, vchannel] of target.vchannels.entries()) {
      const id = idOfShard(`${name}.${target.collection}`, shard, target.vchannels.length);
      await writer.insert(target, [id]);
      last.set(vchannel, id);
    }
  }
  return last;
}

function idOfShard(prefix: string, shard: number, count: number): string {
  for (let i = 0; ; i++) if (shardOf(`${prefix}.${i}`, count) === shard) return `${prefix}.${i}`;
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

/** Brings all rows into tables; answers where these are. */
async function flushAll({ proxies, targets }: Run): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  const [proxy] = proxies;
  for (const { collection } of targets) {
    const asked = await proxy?.flush({ collection });
    const isFlushed = async (): Promise<void> => {
      for (;;) {
        const state = await proxy?.getFlushState({
          collection,
          positions: asked?.positions ?? [],
        });
        if (state?.flushed) return;
        await sleep(100);
      }
    };
    await inTime(60_000, `${collection} is flushed`, isFlushed());
    const described = await proxy?.describeCollection({ name: collection });
    paths.set(collection, described?.collection?.tablePath ?? "");
  }
  return paths;
}

async function openStore(folder: string, s3: S3Server | undefined): Promise<ObjectStore> {
  if (!s3) return await createFileObjectStore({ dir: join(folder, "store") });
  const { accessKeyId, secretAccessKey } = s3;
  return await openS3ObjectStore({
    ...{ bucket, prefix: "chaos", endpoint: s3.endpoints[0] ?? "" },
    credentials: { accessKeyId, secretAccessKey },
    ...{ clock: systemClock, random: systemRandom },
  });
}

async function inTime<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = sleep(ms, undefined, { signal: late.signal }).then(
    () => Promise.reject(new Error(`not within ${ms / 1000} s: ${what}`)),
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([promise, timer]);
  } finally {
    late.abort();
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
