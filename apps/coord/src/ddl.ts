/**
 * Changes of the catalog: each is checked and planned under the lock of its collection's name, and then
 * broadcast; the catalog itself changes when every vchannel of the collection has the message.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import { allocateVchannels } from "@millrace/balancer";
import type {
  Broadcaster,
  BroadcastPlan,
  BroadcastRequest,
  ResourceKey,
} from "@millrace/broadcaster";
import {
  addFields,
  type Clock,
  checkName,
  checkSchema,
  defaultPartition,
  MillraceError,
  sameSchema,
  type Tick,
} from "@millrace/types";
import {
  type CatalogAlterCollectionRequest,
  type CatalogCreateCollectionRequest,
  type CatalogCreatePartitionRequest,
  type CatalogDropPartitionRequest,
  type CatalogTruncateCollectionRequest,
  type Collection,
  type CollectionSchema,
  CollectionSchema$,
  MessageType,
  type Partition,
  PartitionSchema,
} from "@millrace/types/gen";
import { type Catalog, collectionsByPchannel } from "./catalog.ts";
import {
  alterHeader,
  createdCollection,
  creationHeader,
  dropHeader,
  partitionHeader,
  truncateHeader,
} from "./catalog-changes.ts";
import { withDeadline } from "./deadline.ts";
import type { IdAllocator } from "./ids.ts";
import type { TickAllocator } from "./ticks.ts";

/** Options of {@linkcode createDdl}. */
export interface DdlOptions {
  catalog: Catalog;
  broadcaster: Broadcaster;
  ids: IdAllocator;
  ticks: TickAllocator;
  /** All pchannels, in a fixed order. */
  pchannels: readonly string[];
  /** How long a caller waits, in milliseconds; what has begun goes on. */
  waitMs: number;
  clock: Clock;
}

/** What changes collections. Changes of one collection's name are made one after the other. */
export interface Ddl {
  /** The same name with the same schema again is a success. `timeoutMs`: of the caller. */
  createCollection(
    request: CatalogCreateCollectionRequest,
    timeoutMs?: number,
  ): Promise<Collection>;
  dropCollection(name: string, timeoutMs?: number): Promise<void>;
  /** Adds nullable fields; those that are there already are no change. */
  alterCollection(request: CatalogAlterCollectionRequest, timeoutMs?: number): Promise<Collection>;
  /** Resolves when no row from before is in the table. */
  truncateCollection(request: CatalogTruncateCollectionRequest, timeoutMs?: number): Promise<void>;
  createPartition(request: CatalogCreatePartitionRequest, timeoutMs?: number): Promise<Partition>;
  dropPartition(request: CatalogDropPartitionRequest, timeoutMs?: number): Promise<void>;
  /** All collections that have vchannels: those of the catalog, and those that are being created. */
  collections(): Collection[];
}

/** What is to be changed. */
interface Change {
  type: MessageType;
  /** Of the collection. */
  name: string;
  /** Of the caller, in milliseconds. */
  timeoutMs: number | undefined;
}

/** What a change comes to: what its caller is told, and what is to be broadcast, if anything is. */
interface Decision<T> {
  result: T;
  plan?: BroadcastPlan;
}

const maxPartitions = 1024;

const maxKeyBytes = 256;

/** Refuses an idempotency key that is too long with `INVALID_ARGUMENT`. */
export function checkIdempotencyKey(key: string): void {
  if (new TextEncoder().encode(key).length <= maxKeyBytes) return;
  throw new MillraceError(
    "INVALID_ARGUMENT",
    `idempotency_key has more than ${maxKeyBytes} bytes`,
    {
      field: "idempotency_key",
    },
  );
}

/** The lock of a collection's name. */
export function collectionKey(name: string, mode: ResourceKey["mode"] = "exclusive"): ResourceKey {
  return { domain: "collection", key: name, mode };
}

/** Creates a {@linkcode Ddl}. */
export function createDdl(options: DdlOptions): Ddl {
  const { catalog, broadcaster, ids, ticks, pchannels, clock } = options;
  // Planned, and perhaps not a task yet.
  const planned = new Map<bigint, Collection>();

  const broadcast = async (
    { type, name, timeoutMs }: Change,
    request: Pick<BroadcastRequest, "plan" | "idempotencyKey">,
  ): Promise<void> => {
    const ms = Math.min(timeoutMs ?? options.waitMs, options.waitMs);
    const late = (): MillraceError =>
      new MillraceError(
        "DEADLINE_EXCEEDED",
        `the change of collection ${name} was not done within ${ms} ms, and goes on if it has begun; ask again`,
        { retryable: true, maybeApplied: true },
      );
    await withDeadline(clock, ms, late, (signal) =>
      broadcaster.broadcast({ type, keys: [collectionKey(name)], signal, ...request }),
    );
  };

  const change = async <T>(of: Change, decide: () => Promise<Decision<T>>): Promise<T> => {
    const decided: Decision<T>[] = [];
    const plan = async (): Promise<BroadcastPlan | undefined> => {
      decided[0] = await decide();
      return decided[0].plan;
    };
    await broadcast(of, { plan });
    if (decided[0]) return decided[0].result;
    throw new MillraceError("INNER", `the change of collection ${of.name} was not planned`);
  };

  const collections = (): Collection[] => {
    const found = new Map<bigint, Collection>(planned);
    for (const { message } of broadcaster.tasks()) {
      if (message.type !== MessageType.CREATE_COLLECTION) continue;
      const collection = createdCollection(message.header);
      found.set(collection.id, collection);
    }
    for (const collection of catalog.all()) found.set(collection.id, collection);
    return [...found.values()];
  };

  const newCollection = (
    request: CatalogCreateCollectionRequest,
    schema: CollectionSchema,
    id: bigint,
    createdTick: Tick,
  ): Collection => {
    const load = [...collectionsByPchannel(collections())].map(
      ([pchannel, of]) => [pchannel, of.length] as const,
    );
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
    collections,
    async createCollection(request, timeoutMs) {
      const { name } = request;
      checkName(name, "name");
      if (request.schema === undefined) {
        throw new MillraceError("INVALID_ARGUMENT", "schema is missing", { field: "schema" });
      }
      const schema = checkSchema(request.schema);
      checkShards(request.shards, pchannels.length);
      const reserved: bigint[] = [];
      const decide = async (): Promise<Decision<Collection>> => {
        const found = catalog.find(name);
        if (found) return { result: checkSame(found, schema) };
        const id = await ids.allocate(2);
        const collection = newCollection(request, schema, id, await ticks.allocate(1));
        // The next one must not go to the same place, though this is not a task yet.
        planned.set(id, collection);
        reserved.push(id);
        const { vchannels } = collection;
        return { result: collection, plan: { header: creationHeader(collection), vchannels } };
      };
      try {
        return await change({ type: MessageType.CREATE_COLLECTION, name, timeoutMs }, decide);
      } finally {
        for (const id of reserved) planned.delete(id);
      }
    },
    async dropCollection(name, timeoutMs) {
      checkName(name, "name");
      await change({ type: MessageType.DROP_COLLECTION, name, timeoutMs }, async () => {
        const { id, vchannels } = existing(name);
        return { result: undefined, plan: { header: dropHeader(id), vchannels } };
      });
    },
    async alterCollection({ name, addFields: fields }, timeoutMs) {
      checkName(name, "name");
      return change({ type: MessageType.ALTER_COLLECTION, name, timeoutMs }, async () => {
        const collection = existing(name);
        const before = schemaOf(collection);
        const schema = addFields(before, fields);
        if (schema === before) return { result: collection };
        const altered = { ...collection, schema };
        const { vchannels } = collection;
        return { result: altered, plan: { header: alterHeader(altered), vchannels } };
      });
    },
    async truncateCollection({ name, idempotencyKey }, timeoutMs) {
      checkName(name, "name");
      checkIdempotencyKey(idempotencyKey);
      const plan = (): BroadcastPlan => {
        const { id, vchannels } = existing(name);
        return { header: truncateHeader(id), vchannels, ackWhen: "flushed" };
      };
      const of = { type: MessageType.TRUNCATE_COLLECTION, name, timeoutMs };
      await broadcast(of, { plan, idempotencyKey });
    },
    async createPartition({ collection: name, partition: partitionName }, timeoutMs) {
      checkName(name, "collection");
      checkName(partitionName, "partition");
      return change({ type: MessageType.CREATE_PARTITION, name, timeoutMs }, async () => {
        const collection = existing(name);
        checkNewPartition(collection, partitionName);
        const id = await ids.allocate(1);
        const partition = create(PartitionSchema, { id, name: partitionName });
        const { vchannels } = collection;
        return {
          result: partition,
          plan: { header: partitionHeader(collection.id, partition), vchannels },
        };
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
      const of = { type: MessageType.DROP_PARTITION, name: request.collection, timeoutMs };
      await change(of, async () => {
        const { id, name, partitions, vchannels } = existing(request.collection);
        const partition = partitions.find((p) => p.name === request.partition);
        if (partition) {
          return { result: undefined, plan: { header: partitionHeader(id, partition), vchannels } };
        }
        throw new MillraceError(
          "PARTITION_NOT_FOUND",
          `collection ${name} has no partition ${request.partition}`,
        );
      });
    },
  };
}

/** The collection, if it is the one that is asked for. */
function checkSame(collection: Collection, schema: CollectionSchema): Collection {
  if (sameSchema(schemaOf(collection), schema)) return collection;
  throw new MillraceError(
    "COLLECTION_EXISTS",
    `collection ${collection.name} exists with another schema; drop it first or choose another name`,
  );
}

function schemaOf({ name, schema }: Collection): CollectionSchema {
  if (schema) return schema;
  throw new MillraceError("DATA_LOSS", `collection ${name} is saved without a schema`);
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
