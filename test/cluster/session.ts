/**
 * A cluster with collections that are written to, its clients, and the verdict in the end.
 *
 * @module
 */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { createTransportPool } from "@millrace/rpc/node";
import { type ObjectStore, openS3ObjectStore } from "@millrace/storage";
import { createFileObjectStore } from "@millrace/storage/file";
import { MillraceError, pchannelName } from "@millrace/types";
import {
  AdminService,
  type GetClusterStatusResponse,
  type GetFlushStateResponse,
  ProxyService,
} from "@millrace/types/gen";
import { systemClock, systemRandom } from "@millrace/types/node";
import { createSeededRandom } from "@millrace/types/testing";
import type { S3Server } from "../services/ceph-rgw.ts";
import { bucket } from "../services/environment.ts";
import { schema } from "./catalog.ts";
import { type ChaosCluster, startCluster } from "./cluster.ts";
import { watchOwners } from "./owners.ts";
import { createRecord, type Record, shardOf, type Target } from "./record.ts";
import { judge, type Verdict } from "./verdict.ts";
import { inTime, until } from "./waiting.ts";
import { createWriter } from "./writer.ts";

/** Options of {@linkcode startSession}. */
export interface SessionOptions {
  folder: string;
  /** Collections that are made, and their shards. */
  collections: Readonly<{ [name: string]: number }>;
  /** Where tables lie; without it in a folder. */
  s3?: S3Server | undefined;
  /** Processes reach each other without ways that can be broken: for measuring. Default `false`. */
  direct?: boolean;
  /** Modules that processes load first, by name: they plant faults. */
  preloads?: Readonly<{ [name: string]: readonly string[] }>;
}

/** A cluster that is in use. */
export interface Session {
  cluster: ChaosCluster;
  record: Record;
  proxies: Client<typeof ProxyService>[];
  admins: Client<typeof AdminService>[];
  targets: Target[];
  /** Inserts a row into each shard; answers the name of its message by vchannel. */
  writeToAll(name: string, proxy?: Client<typeof ProxyService>): Promise<Map<string, string>>;
  /** Brings all rows into tables, unless told not to, ends all processes, and says what is wrong. */
  end(options?: { tables: boolean }): Promise<Verdict>;
  /** Ends what still runs. */
  destroy(): Promise<void>;
}

/** Starts a cluster and makes its collections. */
export async function startSession(options: SessionOptions): Promise<Session> {
  const { folder, s3, direct = false, preloads = {} } = options;
  const record = createRecord();
  const cluster = await startCluster({ folder, s3, direct, preloads, onEnded: record.surprise });
  const pool = createTransportPool();
  const watched = new AbortController();
  const transports = cluster.proxies.map(({ url }) => pool.transportFor(url));
  const proxies = transports.map((transport) => createClient(ProxyService, transport));
  const admins = transports.map((transport) => createClient(AdminService, transport));
  const coords = cluster.coords.map(({ url }) => pool.transportFor(url));
  const watching = watchOwners(coords, record, watched.signal);
  const targets: Target[] = [];

  const destroy = async (): Promise<void> => {
    watched.abort();
    await watching;
    pool.close();
    await cluster.destroy();
  };
  try {
    await inTime(
      30_000,
      "every node has pchannels",
      until(() => isSpread(cluster, admins)),
    );
    for (const [name, shards] of Object.entries(options.collections)) {
      const created = await proxies[0]?.createCollection({ name, shards, schema });
      targets.push({ collection: name, vchannels: created?.collection?.vchannels ?? [] });
    }
  } catch (error) {
    await destroy();
    throw error;
  }
  return {
    ...{ cluster, record, proxies, admins, targets, destroy },
    async writeToAll(name, proxy) {
      const through = proxy ? [proxy] : proxies;
      const random = createSeededRandom(1);
      const writer = createWriter({ name, proxies: through, targets, record, random, pauseMs: 0 });
      const last = new Map<string, string>();
      for (const target of targets) {
        for (const [shard, vchannel] of target.vchannels.entries()) {
          const id = idOfShard(`${name}.${target.collection}`, shard, target.vchannels.length);
          await writer.insert(target, [id]);
          last.set(vchannel, id);
        }
      }
      return last;
    },
    async end({ tables } = { tables: true }) {
      const tablePaths = tables ? await flushAll(proxies, targets) : undefined;
      watched.abort();
      await watching;
      pool.close();
      await cluster.stop();
      const verdict = await judge({
        ...{ record, folder, tablePaths, targets, walFolder: cluster.walFolder },
        pchannels: Array.from({ length: 16 }, (_, index) => pchannelName("millrace", index)),
        store: await openStore(folder, s3),
      });
      return { ...verdict, wrong: [...record.surprises, ...verdict.wrong] };
    },
    destroy,
  };
}

/** A primary key that belongs to a shard. */
export function idOfShard(prefix: string, shard: number, shards: number): string {
  if (shard < 0 || shard >= shards) throw new Error(`there is no shard ${shard}`);
  for (let i = 0; ; i++) if (shardOf(`${prefix}.${i}`, shards) === shard) return `${prefix}.${i}`;
}

/** Nodes come one after the other, and those that are first get all there is. */
async function isSpread(
  { nodes }: ChaosCluster,
  admins: readonly Client<typeof AdminService>[],
): Promise<boolean> {
  const status = await statusOf(admins);
  const having = status.nodes.filter((node) => node.alive && node.pchannels > 0);
  return having.length === nodes.length;
}

/** Brings all rows into tables; answers where these are. */
async function flushAll(
  proxies: readonly Client<typeof ProxyService>[],
  targets: readonly Target[],
): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  const [proxy] = proxies;
  for (const { collection } of targets) {
    const asked = await proxy?.flush({ collection });
    const positions = asked?.positions ?? [];
    let state: GetFlushStateResponse | undefined;
    const isFlushed = until(async () => {
      state = await proxy?.getFlushState({ collection, positions });
      return state?.flushed === true;
    });
    await inTime(60_000, `${collection} is flushed`, isFlushed).catch((error: Error) => {
      throw new Error(`${error.message}: ${state?.problem || "no problem is told"}`);
    });
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

/** Asks operators' questions of one proxy after the other until one answers. */
export async function statusOf(
  admins: readonly Client<typeof AdminService>[],
): Promise<GetClusterStatusResponse> {
  for (let attempt = 0; ; attempt++) {
    try {
      const admin = admins[attempt % admins.length] as Client<typeof AdminService>;
      return await admin.getClusterStatus({}, { signal: AbortSignal.timeout(5000) });
    } catch (error) {
      if (!MillraceError.is(error)) throw error;
      await sleep(50);
    }
  }
}
