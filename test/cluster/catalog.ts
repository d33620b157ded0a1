/**
 * A client that changes the catalog, one change after the other, each until it is certainly done, and
 * knows what the catalog must be in the end.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { type ErrorCode, MillraceError, type Random } from "@millrace/types";
import { DataType, type ProxyService } from "@millrace/types/gen";
import { isExpected, type Record, type Target } from "./record.ts";

/** Options of {@linkcode createCatalogUser}. */
export interface CatalogUserOptions {
  proxies: readonly Client<typeof ProxyService>[];
  /** Collections that are written to: they are altered, and never dropped. */
  targets: readonly Target[];
  record: Record;
  random: Random;
  pauseMs: number;
}

/** A client that changes the catalog. */
export interface CatalogUser {
  totals: { changes: number; attempts: number; longestMs: number };
  run(): Promise<void>;
  /** It ends when its present change is done. */
  stop(): void;
  /** Compares the catalog with what it must be; answers what is wrong. */
  check(): Promise<string[]>;
}

/** What a collection must be. */
interface Expected {
  fields: Set<string>;
  partitions: Set<string>;
}

/** The schema of all collections. */
export const schema = {
  fields: [
    { name: "id", type: DataType.VARCHAR, primaryKey: true, maxLength: 100 },
    { name: "writer", type: DataType.VARCHAR, maxLength: 100 },
    { name: "text", type: DataType.VARCHAR, maxLength: 200 },
  ],
};

const baseFields = schema.fields.map(({ name }) => name);
const maxAddedFields = 10;
const maxCollections = 10;
const changeMs = 10_000;

/** Creates a client that changes the catalog. */
export function createCatalogUser(options: CatalogUserOptions): CatalogUser {
  const { proxies, targets, record, random, pauseMs } = options;
  const totals = { changes: 0, attempts: 0, longestMs: 0 };
  const fresh = (): Expected => ({
    fields: new Set(baseFields),
    partitions: new Set(["_default"]),
  });
  const catalog = new Map(targets.map(({ collection }) => [collection, fresh()]));
  const own: string[] = [];
  let stopping = false;
  const below = (n: number): number => Math.floor(random.next() * n);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

  /** Makes a change until it is done; `done` is what a change that is done already answers. */
  async function change(
    what: string,
    make: (proxy: Client<typeof ProxyService>, signal: AbortSignal) => Promise<unknown>,
    done?: ErrorCode,
  ): Promise<void> {
    const began = performance.now();
    for (let attempts = 0; ; attempts++) {
      totals.attempts++;
      try {
        await make(pick(proxies), AbortSignal.timeout(changeMs));
        break;
      } catch (reason) {
        const error = MillraceError.from(reason);
        if (attempts > 0 && error.code === done) break;
        if (!isExpected(error)) {
          record.surprise(`${what} failed with ${error.code}: ${error.message}`);
          break;
        }
        await sleep(50 + below(200));
      }
    }
    totals.changes++;
    totals.longestMs = Math.max(totals.longestMs, performance.now() - began);
  }

  async function createCollection(): Promise<void> {
    const name = `side_${totals.changes}`;
    const request = { name, shards: 1 + below(4), schema };
    await change(`create ${name}`, (proxy, signal) => proxy.createCollection(request, { signal }));
    catalog.set(name, fresh());
    own.push(name);
  }

  async function dropCollection(): Promise<void> {
    const [name = ""] = own.splice(below(own.length), 1);
    const done = "COLLECTION_NOT_FOUND";
    await change(
      `drop ${name}`,
      (proxy, signal) => proxy.dropCollection({ name }, { signal }),
      done,
    );
    catalog.delete(name);
  }

  async function addField(): Promise<void> {
    const [name, { fields }] = pick([...catalog]);
    if (fields.size >= baseFields.length + maxAddedFields) return;
    const field = `added_${fields.size}`;
    const addFields = [{ name: field, type: DataType.INT64, nullable: true }];
    await change(`alter ${name}`, (proxy, signal) =>
      proxy.alterCollection({ name, addFields }, { signal }),
    );
    fields.add(field);
  }

  async function changePartition(): Promise<void> {
    const [collection, { partitions }] = pick([...catalog]);
    if (partitions.size > 3) {
      const partition = pick([...partitions].filter((name) => name !== "_default"));
      await change(
        `drop partition ${partition} of ${collection}`,
        (proxy, signal) => proxy.dropPartition({ collection, partition }, { signal }),
        "PARTITION_NOT_FOUND",
      );
      partitions.delete(partition);
      return;
    }
    const partition = `p_${totals.changes}`;
    await change(
      `create partition ${partition} of ${collection}`,
      (proxy, signal) => proxy.createPartition({ collection, partition }, { signal }),
      "PARTITION_EXISTS",
    );
    partitions.add(partition);
  }

  return {
    totals,
    async run() {
      while (!stopping) {
        const dice = below(10);
        if (dice < 3 && own.length < maxCollections) await createCollection();
        else if (dice < 5 && own.length > 0) await dropCollection();
        else if (dice < 7) await addField();
        else await changePartition();
        await sleep(below(2 * pauseMs));
      }
    },
    stop() {
      stopping = true;
    },
    async check() {
      const { collections } = await pick(proxies).listCollections({});
      const wrong: string[] = [];
      const listed = new Map(collections.map((each) => [each.name, each]));
      for (const name of listed.keys()) {
        if (!catalog.has(name)) wrong.push(`collection ${name} is there, but was dropped`);
      }
      for (const [name, { fields, partitions }] of catalog) {
        const found = listed.get(name);
        const has = {
          fields: found?.schema?.fields.map((field) => field.name).sort() ?? [],
          partitions: found?.partitions.map((partition) => partition.name).sort() ?? [],
        };
        const due = { fields: [...fields].sort(), partitions: [...partitions].sort() };
        if (JSON.stringify(has) === JSON.stringify(due)) continue;
        wrong.push(`${name} has ${JSON.stringify(has)}, but must have ${JSON.stringify(due)}`);
      }
      return wrong;
    },
  };
}
