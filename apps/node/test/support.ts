/**
 * A node with a coordinator that a test plays, all in one process on a clock that stands still.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { type Client, type ConnectRouter, createClient, type Transport } from "@connectrpc/connect";
import { createLocalTransport } from "@millrace/rpc";
import {
  createMemoryMetaStore,
  createMemoryObjectStore,
  type MetaStore,
  type ObjectStore,
} from "@millrace/storage";
import { checkSchema, rowsToColumns, silentLogger } from "@millrace/types";
import {
  AllocatorService,
  type AppendResponse,
  AssignmentService,
  type Collection,
  CollectionSchema$ as CollectionMessage,
  CollectionSchemaSchema,
  ColumnBatchSchema,
  CreateCollectionHeaderSchema,
  DataType,
  HandlerService,
  InsertHeaderSchema,
  ManagerService,
  ManualFlushHeaderSchema,
  MembershipService,
  MessageType,
} from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock, type VirtualClock } from "@millrace/types/testing";
import { createMemoryBackend, type LogBackend } from "@millrace/wal";
import { createNode, type NodeOptions, type StreamingNode } from "../src/mod.ts";

export const pchannel = "test-dml_0";
export const vchannel = `${pchannel}_7v0`;

export const collection: Collection = create(CollectionMessage, {
  id: 7n,
  name: "events",
  schema: checkSchema(
    create(CollectionSchemaSchema, {
      fields: [{ name: "id", type: DataType.INT64, primaryKey: true }],
    }),
  ),
  partitions: [{ id: 1n, name: "_default" }],
  vchannels: [vchannel],
  tablePath: "tables/events-7",
});

/** What a coordinator was told, and how it answers. */
export interface FakeCoord {
  transport: Transport;
  heartbeats: { incarnation: string; draining: boolean }[];
  reports: { name: string; term: bigint; code: string }[];
  /** Throws or hangs instead of answering, while set. */
  fail: (() => Promise<void> | void) | undefined;
  /** What draining nodes are told. */
  drained: boolean;
  /** What nodes are told of whether anything is assigned to them. */
  unassigned: boolean;
  /** How many blocks of ticks were given. */
  blocks: number;
}

/** A coordinator that a test plays. */
export function createFakeCoord(clock: VirtualClock): FakeCoord {
  let nextTick = 0n;
  const fake: FakeCoord = {
    transport: createLocalTransport((router: ConnectRouter) => {
      router.service(AllocatorService, {
        async allocateTimestamps({ count }) {
          await fake.fail?.();
          fake.blocks++;
          const now = BigInt(Math.floor(clock.now())) << 18n;
          const first = now > nextTick ? now : nextTick;
          nextTick = first + BigInt(count);
          return { first, count, leaseMs: 50 };
        },
      });
      router.service(MembershipService, {
        async heartbeat({ incarnation, draining }) {
          await fake.fail?.();
          fake.heartbeats.push({ incarnation, draining });
          const { drained, unassigned } = fake;
          return { leaseMs: 3000, drained: draining && drained, unassigned };
        },
      });
      router.service(AssignmentService, {
        reportError({ pchannel: target, code }) {
          fake.reports.push({ name: target?.name ?? "", term: target?.term ?? 0n, code });
          return {};
        },
      });
    }),
    heartbeats: [],
    reports: [],
    fail: undefined,
    drained: true,
    unassigned: false,
    blocks: 0,
  };
  return fake;
}

/** What the nodes of a cluster share. */
export interface Cluster {
  clock: VirtualClock;
  coord: FakeCoord;
  backend: LogBackend;
  store: ObjectStore;
  meta: MetaStore;
  node(options?: Partial<NodeOptions>): TestNode;
  /** Waits for a promise, moving the clock. */
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Moves the clock until it holds. */
  until(condition: () => boolean | Promise<boolean>, ms?: number): Promise<void>;
}

/** A node and clients of it. */
export interface TestNode extends StreamingNode {
  handler: Client<typeof HandlerService>;
  manager: Client<typeof ManagerService>;
  assign(term: number): Promise<void>;
  createCollection(term: number): Promise<void>;
  insert(term: number, ids: readonly number[], key?: string): Promise<AppendResponse>;
  flush(term: number): Promise<bigint>;
  checkpoint(term: number): Promise<bigint>;
}

/** Creates a cluster without nodes. */
export function createCluster(store: ObjectStore = createMemoryObjectStore()): Cluster {
  const clock = createVirtualClock();
  const random = createSeededRandom(1);
  const coord = createFakeCoord(clock);
  const cluster: Cluster = {
    clock,
    coord,
    backend: createMemoryBackend(),
    store,
    meta: createMemoryMetaStore({ clock }),
    node(options = {}) {
      const node = createNode({
        nodeId: "node-1",
        address: "http://node-1",
        coord: coord.transport,
        backend: cluster.backend,
        store,
        meta: cluster.meta,
        clock,
        random,
        logger: silentLogger,
        ...options,
      });
      return { ...node, ...clientsOf(node, cluster) };
    },
    async settle(promise) {
      let done = false;
      const watched = promise.finally(() => {
        done = true;
      });
      watched.catch(() => undefined);
      for (let step = 0; step < 5000 && !done; step++) await clock.advance(10);
      return await watched;
    },
    async until(condition, ms = 60_000) {
      for (let passed = 0; passed < ms; passed += 50) {
        if (await condition()) return;
        await clock.advance(50);
      }
      throw new Error(`not within ${ms} ms`);
    },
  };
  return cluster;
}

function clientsOf(node: StreamingNode, cluster: Cluster): Omit<TestNode, keyof StreamingNode> {
  const transport = createLocalTransport(node.routes);
  const handler = createClient(HandlerService, transport);
  const manager = createClient(ManagerService, transport);
  const append = (
    term: number,
    type: MessageType,
    header: Uint8Array,
    payload: Uint8Array = new Uint8Array(),
    idempotencyKey = "",
  ): Promise<AppendResponse> =>
    cluster.settle(
      handler.append({
        pchannel: { name: pchannel, term: BigInt(term) },
        messages: [{ type, vchannel, header, payload }],
        idempotencyKey,
      }),
    );
  return {
    handler,
    manager,
    async assign(term) {
      const target = { name: pchannel, term: BigInt(term) };
      await cluster.settle(manager.assign({ pchannel: target }));
    },
    async createCollection(term) {
      const header = create(CreateCollectionHeaderSchema, { collection });
      const bytes = toBinary(CreateCollectionHeaderSchema, header);
      await append(term, MessageType.CREATE_COLLECTION, bytes);
    },
    insert(term, ids, key) {
      const { schema } = collection;
      if (!schema) throw new Error("the collection has a schema");
      const batch = rowsToColumns(
        schema,
        ids.map((id) => ({ id })),
        {},
      );
      const header = create(InsertHeaderSchema, {
        collectionId: collection.id,
        partitionId: 1n,
        rows: ids.length,
      });
      return append(
        term,
        MessageType.INSERT,
        toBinary(InsertHeaderSchema, header),
        toBinary(ColumnBatchSchema, batch),
        key,
      );
    },
    async flush(term) {
      const header = create(ManualFlushHeaderSchema, { collectionId: collection.id });
      const bytes = toBinary(ManualFlushHeaderSchema, header);
      return (await append(term, MessageType.MANUAL_FLUSH, bytes)).lastTick;
    },
    async checkpoint(term) {
      const answer = await cluster.settle(
        handler.getFlushCheckpoints({
          pchannel: { name: pchannel, term: BigInt(term) },
          vchannels: [vchannel],
        }),
      );
      return answer.checkpoints[0]?.tick ?? 0n;
    },
  };
}

/** Ids of all rows in the table, by the statistics of its files: how many there are. */
export async function tableRows(store: ObjectStore): Promise<number> {
  let rows = 0;
  for await (const { key } of store.list({ prefix: `${collection.tablePath}/_delta_log/` })) {
    const object = await store.get(key);
    for (const line of new TextDecoder().decode(object?.body).split("\n")) {
      if (line === "") continue;
      const { add } = JSON.parse(line) as { add?: { stats: string } };
      if (add) rows += (JSON.parse(add.stats) as { numRecords: number }).numRecords;
    }
  }
  return rows;
}
