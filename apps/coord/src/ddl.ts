/**
 * Changes of the catalog: each is saved as under way, put into every vchannel of its collection, and
 * saved as done. Once begun it is carried to its end, whatever becomes of the caller or of this
 * process.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { allocateVchannels } from "@millrace/balancer";
import {
  backoffDelay,
  type Clock,
  checkName,
  checkSchema,
  defaultPartition,
  delay,
  type Logger,
  MillraceError,
  type Random,
  sameSchema,
  type Tick,
} from "@millrace/types";
import {
  type CatalogCreateCollectionRequest,
  type CatalogCreatePartitionRequest,
  type CatalogDropPartitionRequest,
  type Collection,
  type CollectionSchema,
  CollectionSchema$,
  type Partition,
  PartitionSchema,
} from "@millrace/types/gen";
import { type Catalog, type Change, messageOf } from "./catalog.ts";
import { waitAtMost } from "./deadline.ts";
import type { IdAllocator } from "./ids.ts";
import { createNameQueue } from "./name-queue.ts";
import type { TickAllocator } from "./ticks.ts";
import type { VchannelAppend } from "./vchannel-append.ts";

/** Options of {@linkcode createDdl}. */
export interface DdlOptions {
  catalog: Catalog;
  ids: IdAllocator;
  ticks: TickAllocator;
  append: VchannelAppend;
  /** All pchannels, in a fixed order. */
  pchannels: readonly string[];
  /** How long a caller waits, in milliseconds; the change goes on. */
  waitMs: number;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/** What changes collections. Changes of one collection's name are made one after the other. */
export interface Ddl {
  /** The same name with the same schema again is a success. `timeoutMs`: of the caller. */
  createCollection(
    request: CatalogCreateCollectionRequest,
    timeoutMs?: number,
  ): Promise<Collection>;
  dropCollection(name: string, timeoutMs?: number): Promise<void>;
  createPartition(request: CatalogCreatePartitionRequest, timeoutMs?: number): Promise<Partition>;
  dropPartition(request: CatalogDropPartitionRequest, timeoutMs?: number): Promise<void>;
  /** Carries on what was under way when the coordinator before ended. */
  resume(): void;
  /** Stops all work and waits for it; it is carried on by the next coordinator. */
  close(): Promise<void>;
}

const maxPartitions = 1024;
const maxPending = 1000;

/** Creates a {@linkcode Ddl}. */
export function createDdl(options: DdlOptions): Ddl {
  const { catalog, ids, ticks, append, pchannels, clock, random, logger } = options;
  const closing = new AbortController();
  const queue = createNameQueue(maxPending);

  const untilSaved = async (what: string, save: () => Promise<void>): Promise<void> => {
    for (let attempt = 0; ; attempt++) {
      closing.signal.throwIfAborted();
      try {
        await save();
        return;
      } catch (error) {
        logger.warn("the catalog could not be saved, it will be tried again", { what, error });
      }
      await delay(clock, backoffDelay(attempt, random), closing.signal);
    }
  };

  const carryOn = async (change: Change): Promise<void> => {
    const { collection } = change;
    const key = idempotencyKey(change);
    const message = messageOf(change);
    await Promise.all(
      collection.vchannels.map((vchannel) => append(vchannel, message, key, closing.signal)),
    );
    await untilSaved(key, () => catalog.finish(change));
    logger.info("catalog changed", { collection: collection.name, id: collection.id, key });
  };

  const make = async (change: Change): Promise<void> => {
    await untilSaved(idempotencyKey(change), () => catalog.begin(change));
    await carryOn(change);
  };

  const run = <T>(
    name: string,
    timeoutMs: number | undefined,
    job: () => Promise<T>,
  ): Promise<T> => {
    if (closing.signal.aborted) throw closing.signal.reason;
    const ms = Math.min(timeoutMs ?? options.waitMs, options.waitMs);
    return waitAtMost(clock, ms, queue.run(name, job), () => {
      return new MillraceError(
        "DEADLINE_EXCEEDED",
        `the change of collection ${name} goes on, but was not done within ${ms} ms; ask again`,
        { retryable: true, maybeApplied: true },
      );
    });
  };

  const newCollection = (
    request: CatalogCreateCollectionRequest,
    schema: CollectionSchema,
    id: bigint,
    createdTick: Tick,
  ): Collection => {
    const load = [...catalog.vchannels()].map(([pchannel, of]) => [pchannel, of.length] as const);
    return create(CollectionSchema$, {
      id,
      name: request.name,
      schema,
      partitions: [{ id: id + 1n, name: defaultPartition }],
      vchannels: allocateVchannels({
        collectionId: id,
        shards: request.shards,
        pchannels,
        load: new Map(load),
      }),
      createdTick,
      tablePath: `tables/${request.name}-${id}`,
    });
  };

  const existing = (name: string): Collection => {
    const collection = catalog.find(name);
    if (collection) return collection;
    throw new MillraceError("COLLECTION_NOT_FOUND", `there is no collection ${name}`);
  };

  return {
    async createCollection(request, timeoutMs) {
      const { name } = request;
      checkName(name, "name");
      if (request.schema === undefined) {
        throw new MillraceError("INVALID_ARGUMENT", "schema is missing", { field: "schema" });
      }
      const schema = checkSchema(request.schema);
      checkShards(request.shards, pchannels.length);
      return run(name, timeoutMs, async () => {
        const found = catalog.find(name);
        if (found) {
          if (found.schema && sameSchema(found.schema, schema)) return found;
          throw new MillraceError(
            "COLLECTION_EXISTS",
            `collection ${name} exists with another schema; drop it first or choose another name`,
          );
        }
        const id = await ids.allocate(2);
        const createdTick = await ticks.allocate(1);
        const collection = newCollection(request, schema, id, createdTick);
        await make({ kind: "create", collection });
        return collection;
      });
    },
    async dropCollection(name, timeoutMs) {
      checkName(name, "name");
      await run(name, timeoutMs, () => make({ kind: "drop", collection: existing(name) }));
    },
    async createPartition(request, timeoutMs) {
      checkName(request.collection, "collection");
      checkName(request.partition, "partition");
      return run(request.collection, timeoutMs, async () => {
        const collection = existing(request.collection);
        checkNewPartition(collection, request.partition);
        const id = await ids.allocate(1);
        const partition = create(PartitionSchema, { id, name: request.partition });
        await make({ kind: "create-partition", collection, partition });
        return partition;
      });
    },
    async dropPartition(request, timeoutMs) {
      checkName(request.collection, "collection");
      checkName(request.partition, "partition");
      if (request.partition === defaultPartition) {
        throw new MillraceError(
          "INVALID_ARGUMENT",
          `partition ${defaultPartition} cannot be dropped; drop the collection`,
          { field: "partition" },
        );
      }
      await run(request.collection, timeoutMs, () => {
        const collection = existing(request.collection);
        const partition = collection.partitions.find((p) => p.name === request.partition);
        if (partition) return make({ kind: "drop-partition", collection, partition });
        throw new MillraceError(
          "PARTITION_NOT_FOUND",
          `collection ${collection.name} has no partition ${request.partition}`,
        );
      });
    },
    resume() {
      for (const change of catalog.changes()) {
        queue
          .run(change.collection.name, () => carryOn(change))
          .catch((error: unknown) => {
            logger.debug("a change of the catalog was left for later", { error });
          });
      }
    },
    async close() {
      closing.abort(new MillraceError("UNAVAILABLE", "the coordinator is closing; try again"));
      await queue.idle();
    },
  };
}

/** The same for each attempt at a change, so that each vchannel takes its message once. */
function idempotencyKey(change: Change): string {
  const base = `ddl/${change.collection.id}/${change.kind}`;
  return "partition" in change ? `${base}/${change.partition.id}` : base;
}

function checkShards(shards: number, max: number): void {
  if (shards >= 1 && shards <= max) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `shards must be 1 to ${max} (the number of pchannels), got ${shards}`,
    { field: "shards" },
  );
}

function checkNewPartition(collection: Collection, name: string): void {
  if (collection.partitions.some((partition) => partition.name === name)) {
    throw new MillraceError(
      "PARTITION_EXISTS",
      `collection ${collection.name} has a partition ${name} already`,
    );
  }
  if (collection.partitions.length >= maxPartitions) {
    throw new MillraceError(
      "RESOURCE_EXHAUSTED",
      `collection ${collection.name} has ${maxPartitions} partitions, the most there can be`,
      { retryable: false },
    );
  }
}
