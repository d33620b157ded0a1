import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { type ErrorCode, MillraceError, pchannelName } from "@millrace/types";
import { DataType, MessageType, type ProxyService } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { schema } from "./catalog.ts";
import { inFolder } from "./folder.ts";
import { readLog } from "./history.ts";
import { isExpected } from "./record.ts";
import { type Session, startSession, statusOf } from "./session.ts";
import { inTime, until } from "./waiting.ts";

type Proxy = Client<typeof ProxyService>;

const count = 25;
const shards = 2;

/** A kind of change, made to collections of its own. */
interface Kind {
  /** Of its collections: the beginning of their names. */
  prefix: string;
  /** The collections are there before. */
  isOld: boolean;
  make(proxy: Proxy, name: string): Promise<unknown>;
  /** What a change that is done already answers: that tells the same, after a kill. */
  done?: ErrorCode;
  /** What it puts into each shard. */
  type: MessageType;
}

const create = (proxy: Proxy, name: string) => proxy.createCollection({ name, shards, schema });

const kinds: readonly Kind[] = [
  { prefix: "created", isOld: false, make: create, type: MessageType.CREATE_COLLECTION },
  {
    prefix: "dropped",
    isOld: true,
    make: (proxy, name) => proxy.dropCollection({ name }),
    done: "COLLECTION_NOT_FOUND",
    type: MessageType.DROP_COLLECTION,
  },
  {
    prefix: "altered",
    isOld: true,
    make: (proxy, name) => {
      const addFields = [{ name: "added", type: DataType.INT64, nullable: true }];
      return proxy.alterCollection({ name, addFields });
    },
    type: MessageType.ALTER_COLLECTION,
  },
  {
    prefix: "parted",
    isOld: true,
    make: (proxy, collection) => proxy.createPartition({ collection, partition: "p" }),
    done: "PARTITION_EXISTS",
    type: MessageType.CREATE_PARTITION,
  },
];

async function untilDone(call: () => Promise<unknown>, done?: ErrorCode): Promise<void> {
  for (;;) {
    try {
      await call();
      return;
    } catch (reason) {
      const error = MillraceError.from(reason);
      if (error.code === done) return;
      if (!isExpected(error)) throw error;
      await sleep(20);
    }
  }
}

const namesOf = ({ prefix }: Kind, round: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}_${round}_${i}`);

/** Makes a hundred changes at once, and kills the leading coordinator when so many are done. */
async function changeAndKill(session: Session, round: number, killAt: number): Promise<Vchannels> {
  const { proxies, admins, cluster } = session;
  const proxyOf = (i: number): Proxy => proxies[i % proxies.length] as Proxy;
  const old = kinds.filter(({ isOld }) => isOld).flatMap((kind) => namesOf(kind, round));
  await Promise.all(old.map((name, i) => untilDone(() => create(proxyOf(i), name))));
  const vchannels = await vchannelsOf(session);

  let answered = 0;
  const changes = kinds.flatMap((kind) =>
    namesOf(kind, round).map(async (name, i) => {
      await untilDone(() => kind.make(proxyOf(i), name), kind.done);
      answered++;
    }),
  );
  const all = Promise.all(changes);
  while (answered < killAt) await sleep(1);
  const killedAt = performance.now();
  // It led until now: the one that was killed before stands by.
  const leader = cluster.coords[round % cluster.coords.length];
  await leader?.kill();
  const before = answered;
  await inTime(60_000, "all changes are done", all);
  const ms = performance.now() - killedAt;
  process.stderr.write(
    `changes: coordinator killed when ${before} of ${changes.length} were done; the rest took ${ms.toFixed(0)} ms\n`,
  );
  expect(before).toBeLessThan(changes.length);
  const isQuiet = async (): Promise<boolean> => (await statusOf(admins)).broadcasts.length === 0;
  await inTime(10_000, "no change is stuck", until(isQuiet));
  await leader?.start();
  // Those of collections that were dropped are known from before.
  return new Map([...vchannels, ...(await vchannelsOf(session))]);
}

/** By collection. */
type Vchannels = ReadonlyMap<string, readonly string[]>;

async function vchannelsOf({ proxies }: Session): Promise<Vchannels> {
  const { collections } = await (proxies[0] as Proxy).listCollections({});
  return new Map(collections.map(({ name, vchannels }) => [name, vchannels]));
}

/** How often each type of message stands in each shard: `5 of v`. */
async function changesIn(walFolder: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (let index = 0; index < 16; index++) {
    const { batches } = await readLog(walFolder, pchannelName("millrace", index), []);
    for (const { type, vchannel } of batches.flatMap(({ messages }) => messages)) {
      const key = `${type} of ${vchannel}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return counts;
}

test("the leading coordinator is killed among 100 changes: each is once in every shard", {
  timeout: 300_000,
}, async () => {
  await inFolder("changes", async (folder) => {
    const session = await startSession({ folder, collections: {} });
    try {
      const vchannels = new Map<string, readonly string[]>();
      const rounds = [1, 40];
      for (const [round, killAt] of rounds.entries()) {
        for (const each of await changeAndKill(session, round, killAt)) vchannels.set(...each);
      }
      expect((await session.end({ tables: false })).wrong).toEqual([]);

      const found = await changesIn(session.cluster.walFolder);
      const wrong: string[] = [];
      for (const kind of kinds) {
        for (const name of rounds.flatMap((_, round) => namesOf(kind, round))) {
          const own = vchannels.get(name) ?? [];
          if (own.length !== shards) wrong.push(`${name} has shards ${own}`);
          for (const type of new Set([MessageType.CREATE_COLLECTION, kind.type])) {
            for (const vchannel of own) {
              const times = found.get(`${type} of ${vchannel}`) ?? 0;
              if (times !== 1) wrong.push(`${name}: type ${type} ${times} times`);
            }
          }
        }
      }
      expect(wrong).toEqual([]);
    } finally {
      await session.destroy();
    }
  });
});
