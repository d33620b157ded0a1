/**
 * The vchannels that a flusher knows, and their tables.
 *
 * @module
 */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ObjectStore } from "@millrace/storage";
import { type Clock, MillraceError, type Random, type Tick } from "@millrace/types";
import {
  type Collection,
  type CollectionSchema,
  CollectionSchema$ as CollectionMessage,
  CreateCollectionHeaderSchema,
  type Partition,
} from "@millrace/types/gen";
import { createDeltaTable } from "./delta-table.ts";
import { type SealLimits, withJitter } from "./seal.ts";
import type { FlusherSnapshot } from "./snapshot.ts";
import type { Table } from "./table.ts";
import { checkpointOf, type FlushJob, firstUnflushed, type VchannelState } from "./vchannel.ts";

/** Options of {@linkcode createVchannelRegistry}. */
export interface VchannelRegistryOptions {
  store: ObjectStore;
  from: FlusherSnapshot | undefined;
  limits: () => SealLimits;
  clock: Clock;
  random: Random;
}

/** What is not in tables, summed up. */
export interface UnflushedSummary {
  flushedTick: Tick;
  rows: number;
  /** Why the first job that fails does; empty if none does. */
  problem: string;
}

/** The vchannels that a flusher knows. */
export interface VchannelRegistry {
  readonly vchannels: ReadonlyMap<string, VchannelState>;
  /** Learns of a vchannel; nothing if it is known. */
  create(name: string, collection: Collection): void;
  /** As `create`, from the header of the message that created it. */
  createFrom(name: string, header: Uint8Array): void;
  /** Learns of a partition of the named vchannel, of all if the name is empty. */
  addPartition(name: string, partition: Partition): void;
  /** Rows of the named vchannel, of all if the name is empty, have this schema from now on. */
  alter(name: string, schema: CollectionSchema): void;
  /** Forgets a vchannel, and answers it. */
  drop(name: string): VchannelState | undefined;
  /** The named vchannel, all if the name is empty. */
  named(name: string): Iterable<VchannelState>;
  /** The first job of each vchannel that has one. */
  jobs(): FlushJob[];
  /** Where the log is to be read from to have all rows that are not in a table; `next` if all are. */
  unflushedFrom(next: number): number;
  status(lastTick: Tick, problem: string): UnflushedSummary;
  snapshot(): Pick<FlusherSnapshot, "vchannels" | "tables">;
}

/** The vchannels that a flusher knows, at first those of an earlier owner's. */
export function createVchannelRegistry(options: VchannelRegistryOptions): VchannelRegistry {
  const { store, from, limits, clock, random } = options;
  const vchannels = new Map<string, VchannelState>();
  const tables = new Map<string, Table>();

  const tableOf = (name: string, { tablePath: path, schema }: Collection): Table => {
    const known = tables.get(path);
    if (known) return known;
    if (!schema || path === "") {
      throw new MillraceError("DATA_LOSS", `${name} was created without a schema or a table`);
    }
    const snapshot = from?.tables.find((table) => table.path === path);
    const table = createDeltaTable({ store, path, from: snapshot, clock, random });
    tables.set(path, table);
    return table;
  };

  const create = (name: string, collection: Collection): void => {
    if (vchannels.has(name)) return;
    vchannels.set(name, {
      name,
      collection,
      table: tableOf(name, collection),
      limits: withJitter(limits, random),
      growing: undefined,
      since: 0,
      touched: 0,
      jobs: [],
      dropped: false,
      inherited: undefined,
      cleaned: false,
    });
  };

  const named = (name: string): Iterable<VchannelState> => {
    if (name === "") return vchannels.values();
    const vchannel = vchannels.get(name);
    return vchannel ? [vchannel] : [];
  };

  for (const { name, collection } of from?.vchannels ?? []) {
    create(name, fromBinary(CollectionMessage, collection));
  }

  return {
    vchannels,
    create,
    named,
    createFrom(name, header) {
      const { collection } = fromBinary(CreateCollectionHeaderSchema, header);
      if (collection) create(name, collection);
    },
    addPartition(name, partition) {
      for (const { collection } of named(name)) {
        const known = collection.partitions.some(({ id }) => id === partition.id);
        if (!known) collection.partitions.push(partition);
      }
    },
    alter(name, schema) {
      for (const { collection } of named(name)) {
        // What is read again, for the sake of rows, may be older than what is known.
        if (schema.version > (collection.schema?.version ?? 0)) collection.schema = schema;
      }
    },
    drop(name) {
      const vchannel = vchannels.get(name);
      if (!vchannel) return undefined;
      vchannel.dropped = true;
      vchannels.delete(name);
      const { tablePath } = vchannel.collection;
      const shared = [...vchannels.values()].some(
        ({ collection }) => collection.tablePath === tablePath,
      );
      if (!shared) tables.delete(tablePath);
      return vchannel;
    },
    jobs() {
      const jobs: FlushJob[] = [];
      for (const { jobs: queue } of vchannels.values()) if (queue[0]) jobs.push(queue[0]);
      return jobs;
    },
    unflushedFrom(next) {
      let sequence = next;
      for (const vchannel of vchannels.values()) {
        // Of later ranges nothing began before: what was open then belongs to the first as well.
        const from = firstUnflushed(vchannel)?.readFrom ?? next;
        if (from < sequence) sequence = from;
      }
      return sequence;
    },
    status(lastTick, problem) {
      const summary: UnflushedSummary = { flushedTick: lastTick, rows: 0, problem };
      for (const vchannel of vchannels.values()) {
        const tick = checkpointOf(vchannel, lastTick);
        if (tick < summary.flushedTick) summary.flushedTick = tick;
        summary.rows += vchannel.growing?.rows ?? 0;
        for (const { range, problem } of vchannel.jobs) {
          summary.rows += range.rows;
          summary.problem ||= problem;
        }
      }
      return summary;
    },
    snapshot: () => ({
      vchannels: [...vchannels.values()].map(({ name, collection }) => ({
        name,
        collection: toBinary(CollectionMessage, collection),
      })),
      tables: [...tables].map(([path, table]) => ({ path, ...table.snapshot() })),
    }),
  };
}
