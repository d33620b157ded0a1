/**
 * A log, a store and a flusher in memory, on a clock that stands still.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { createMemoryObjectStore, type ObjectStore } from "@millrace/storage";
import {
  addFields,
  checkSchema,
  rowsToColumns,
  silentLogger,
  type Tick,
  type TickSource,
} from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  type Collection,
  CollectionSchema$ as CollectionMessage,
  CollectionSchemaSchema,
  ColumnBatchSchema,
  CreateCollectionHeaderSchema,
  DataType,
  DropCollectionHeaderSchema,
  FieldSchemaSchema,
  InsertHeaderSchema,
  ManualFlushHeaderSchema,
  MessageType,
  PartitionHeaderSchema,
  TruncateCollectionHeaderSchema,
} from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock, type VirtualClock } from "@millrace/types/testing";
import {
  createMemoryBackend,
  type LogBackend,
  openWal,
  type Wal,
  type WalSnapshot,
} from "@millrace/wal";
import { parquetReadObjects } from "hyparquet";
import { createFlusher, type Flusher, type FlusherOptions } from "../src/mod.ts";

export const pchannel = "test-dml_0";

/** The collection of most tests: `id` and `n`, in `_default` (1) and `other` (2). */
export function testCollection(id = 7n): Collection {
  return create(CollectionMessage, {
    id,
    name: "events",
    schema: checkSchema(
      create(CollectionSchemaSchema, {
        fields: [
          { name: "id", type: DataType.INT64, primaryKey: true },
          { name: "text", type: DataType.VARCHAR, nullable: true },
        ],
      }),
    ),
    partitions: [
      { id: 1n, name: "_default" },
      { id: 2n, name: "other" },
    ],
    vchannels: [`${pchannel}_${id}v0`],
    tablePath: `tables/events-${id}`,
  });
}

/** A tick source that begins where the clock stands. */
export function createTicks(): TickSource {
  let next: Tick = 1_000_000n;
  return {
    take(count, after = 0n) {
      if (after >= next) next = after + 1n;
      const first = next;
      next += BigInt(count);
      return { first, count };
    },
  };
}

/** One pchannel, whose owners come and go. */
export interface Bench {
  clock: VirtualClock;
  store: ObjectStore;
  backend: LogBackend;
  collection: Collection;
  vchannel: string;
  /** The present owner's log. */
  wal: Wal;
  /** Opens the log at the next term, with what its owner kept; the one before is fenced. */
  takeOver(): Promise<Wal>;
  flusher(options?: Partial<FlusherOptions>): Flusher;
  createCollection(): Promise<void>;
  dropCollection(): Promise<void>;
  createPartition(id: bigint, name: string): Promise<void>;
  /** Asks for all rows before it to leave the table, and answers its tick. */
  truncate(): Promise<Tick>;
  /** Adds a nullable VARCHAR field to the collection; inserts that follow have it. */
  alterCollection(field: string): Promise<void>;
  insert(ids: readonly number[], partition?: bigint, txn?: Tick): Promise<Tick>;
  /** Begins a transaction, and answers its name. */
  begin(): Promise<Tick>;
  commit(txn: Tick): Promise<Tick>;
  flush(): Promise<Tick>;
  /** Advances the clock in steps until it holds; throws after `ms`. */
  until(condition: () => boolean | Promise<boolean>, ms?: number): Promise<void>;
  /** The rows in the table, by its log, in order of the files. */
  tableRows(): Promise<Record<string, unknown>[]>;
  /** Their ids. */
  tableIds(): Promise<number[]>;
  /** The keys of data files, whether they are in the table or not. */
  dataFiles(): Promise<string[]>;
  /** How many commits the table has. */
  commits(): Promise<number>;
}

/** Creates a log with one vchannel, its collection created. */
export async function createBench(
  store: ObjectStore = createMemoryObjectStore(),
  collection: Collection = testCollection(),
): Promise<Bench> {
  const clock = createVirtualClock();
  const random = createSeededRandom(1);
  const backend = createMemoryBackend();
  const ticks = createTicks();
  const segments = { random: createSeededRandom(2) };
  const vchannel = collection.vchannels[0] ?? "";
  let term = 0;
  const open = (snapshot?: WalSnapshot): Promise<Wal> =>
    openWal({ backend, pchannel, term: ++term, ticks, clock, segments, snapshot });

  const append = async (
    type: MessageType,
    header: Uint8Array,
    payload: Uint8Array = new Uint8Array(),
    txn?: Tick,
  ): Promise<Tick> => {
    const { lastTick } = await bench.wal.append([{ type, vchannel, header, payload }], { txn });
    return lastTick;
  };

  const bench: Bench = {
    clock,
    store,
    backend,
    collection,
    vchannel,
    wal: await open(),
    async takeOver() {
      bench.wal = await open(bench.wal.snapshot());
      return bench.wal;
    },
    flusher: (options = {}) =>
      createFlusher({
        pchannel,
        term: options.wal?.term ?? bench.wal.term,
        wal: bench.wal,
        store,
        clock,
        random,
        logger: silentLogger,
        ...options,
      }),
    async createCollection() {
      const header = create(CreateCollectionHeaderSchema, { collection });
      await append(MessageType.CREATE_COLLECTION, toBinary(CreateCollectionHeaderSchema, header));
    },
    async dropCollection() {
      const header = create(DropCollectionHeaderSchema, { collectionId: collection.id });
      await append(MessageType.DROP_COLLECTION, toBinary(DropCollectionHeaderSchema, header));
    },
    async createPartition(id, name) {
      const header = create(PartitionHeaderSchema, {
        collectionId: collection.id,
        partition: { id, name },
      });
      await append(MessageType.CREATE_PARTITION, toBinary(PartitionHeaderSchema, header));
    },
    truncate() {
      const header = create(TruncateCollectionHeaderSchema, { collectionId: collection.id });
      return append(
        MessageType.TRUNCATE_COLLECTION,
        toBinary(TruncateCollectionHeaderSchema, header),
      );
    },
    async alterCollection(name) {
      const field = create(FieldSchemaSchema, { name, type: DataType.VARCHAR, nullable: true });
      if (!collection.schema) throw new Error("the collection has a schema");
      collection.schema = addFields(collection.schema, [field]);
      const header = create(AlterCollectionHeaderSchema, { collection });
      await append(MessageType.ALTER_COLLECTION, toBinary(AlterCollectionHeaderSchema, header));
    },
    insert(ids, partitionId = 1n, txn = undefined) {
      const added = collection.schema?.fields.slice(2) ?? [];
      const rows = ids.map((id) => ({
        id,
        text: `row ${id}`,
        ...Object.fromEntries(added.map(({ name }) => [name, `${name} ${id}`])),
      }));
      const header = create(InsertHeaderSchema, {
        collectionId: collection.id,
        partitionId,
        rows: rows.length,
      });
      const { schema } = collection;
      if (!schema) throw new Error("the collection has a schema");
      const payload = toBinary(ColumnBatchSchema, rowsToColumns(schema, rows, {}));
      return append(MessageType.INSERT, toBinary(InsertHeaderSchema, header), payload, txn);
    },
    async begin() {
      return (await bench.wal.begin({ vchannel })).txn;
    },
    async commit(txn) {
      return (await bench.wal.commit(txn)).lastTick;
    },
    flush() {
      const header = create(ManualFlushHeaderSchema, { collectionId: collection.id });
      return append(MessageType.MANUAL_FLUSH, toBinary(ManualFlushHeaderSchema, header));
    },
    async until(condition, ms = 60_000) {
      for (let passed = 0; passed < ms; passed += 50) {
        if (await condition()) return;
        await clock.advance(50);
      }
      throw new Error(`not within ${ms} ms`);
    },
    async tableIds() {
      return (await bench.tableRows()).map((row) => Number(row.id));
    },
    async tableRows() {
      const all: Record<string, unknown>[] = [];
      const live = new Set<string>();
      for (const { add, remove } of await readLog(store, collection.tablePath)) {
        if (add) live.add(add.path);
        if (remove) live.delete(remove.path);
      }
      for (const path of live) {
        const object = await store.get(`${collection.tablePath}/${path}`);
        if (!object) throw new Error(`${path} is in the table but gone`);
        all.push(...(await parquetReadObjects({ file: object.body.slice().buffer })));
      }
      return all;
    },
    async dataFiles() {
      const keys: string[] = [];
      for await (const { key } of store.list({ prefix: `${collection.tablePath}/_partition=` })) {
        keys.push(key);
      }
      return keys;
    },
    async commits() {
      return (await readLog(store, collection.tablePath)).filter((action) => action.commitInfo)
        .length;
    },
  };
  await bench.createCollection();
  return bench;
}

/** An action of a Delta log, as far as tests look at it. */
export interface LogAction {
  add?: { path: string; size: number; stats: string; partitionValues: Record<string, string> };
  remove?: { path: string };
  txn?: { appId: string; version: number };
  metaData?: {
    id: string;
    schemaString: string;
    partitionColumns: string[];
    configuration: Record<string, string>;
    createdTime: number;
  };
  protocol?: object;
  commitInfo?: object;
}

/** All actions of a table's log, in order. */
export async function readLog(store: ObjectStore, tablePath: string): Promise<LogAction[]> {
  const actions: LogAction[] = [];
  for await (const { key } of store.list({ prefix: `${tablePath}/_delta_log/` })) {
    const object = await store.get(key);
    const lines = new TextDecoder().decode(object?.body).split("\n");
    for (const line of lines) if (line !== "") actions.push(JSON.parse(line) as LogAction);
  }
  return actions;
}

/** What a test does to a put: before it, or after it was done. */
export interface PutFaults {
  before?: ((key: string) => void | Promise<void>) | undefined;
  after?: ((key: string) => void | Promise<void>) | undefined;
}

/** A store whose puts pass through `faults`, which a test may change at any time. */
export function withPutFaults(store: ObjectStore, faults: PutFaults): ObjectStore {
  return {
    ...store,
    async put(key, body, options) {
      await faults.before?.(key);
      const info = await store.put(key, body, options);
      await faults.after?.(key);
      return info;
    },
  };
}

/** Integers from `start`, `count` of them. */
export function range(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => start + index);
}
