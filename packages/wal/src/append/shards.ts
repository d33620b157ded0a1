/**
 * Shards: which vchannels a log has, with their partitions, schema versions and growing segments.
 *
 * @module
 */

import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { MillraceError, type Position, type Tick } from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  CreateCollectionHeaderSchema,
  CreateSegmentHeaderSchema,
  InsertHeaderSchema,
  PartitionHeaderSchema,
} from "@millrace/types/gen";
import type { WalMessage } from "../record-batch.ts";
import type { VchannelSnapshot } from "../wal.ts";
import {
  alterCollection,
  createCollection,
  createPartition,
  createSegment,
  dropCollection,
  dropPartition,
  insert,
  manualFlush,
  truncateCollection,
} from "./message-types.ts";

/** A segment that takes inserts. */
export interface Segment {
  /** The tick of its CREATE_SEGMENT message; 0 while that is on its way. */
  id: Tick;
  rows: number;
  bytes: number;
  /** It is full when either is reached. */
  maxRows: number;
  maxBytes: number;
}

/** A shard of a collection. */
export interface Vchannel {
  name: string;
  /** The header of the message that created it, with that message's place and tick. */
  created: Uint8Array;
  id: Position;
  tick: Tick;
  collection: bigint;
  /** 0: not known, so it is not checked. */
  schemaVersion: number;
  /** The ids of its partitions; empty: not known, so they are not checked. */
  partitions: Set<bigint>;
  /** At most one a partition. */
  segments: Map<bigint, Segment>;
}

/** What is to be known of an insert. */
export interface InsertFacts {
  partition: bigint;
  rows: number;
  /** Of its payload. */
  bytes: number;
  schemaVersion: number;
}

/** A message that may change a shard. */
export interface ShardMessage {
  type: number;
  vchannel: string;
  header: Uint8Array;
  id: Position;
  tick: Tick;
}

/** The shards of a log: a fold over its messages. */
export interface Shards {
  vchannels: ReadonlyMap<string, Vchannel>;
  /** The header of the message that created each vchannel. */
  headers: ReadonlyMap<string, Uint8Array>;
  /** Takes a message into account. Repeats change nothing. */
  apply(message: ShardMessage): void;
  /** Throws unless a vchannel takes such an insert. */
  check(vchannel: Vchannel, facts: InsertFacts): void;
  snapshot(): VchannelSnapshot[];
}

/** Creates shards from a snapshot, or none. */
export function createShards(from: readonly VchannelSnapshot[] = []): Shards {
  const vchannels = new Map<string, Vchannel>();
  const headers = new Map<string, Uint8Array>();
  for (const { partitions, segments, ...rest } of from) {
    const details = detailsOf(rest.created);
    vchannels.set(rest.name, {
      ...rest,
      collection: details.collection,
      partitions: new Set(partitions.map(BigInt)),
      segments: new Map(
        segments.map(({ partition, ...segment }) => [BigInt(partition), { ...segment }]),
      ),
    });
    headers.set(rest.name, rest.created);
  }

  const create = ({ vchannel, header, id, tick }: ShardMessage): void => {
    if (vchannels.has(vchannel)) return;
    // A copy: the header is a view of something much larger.
    const created = header.slice();
    vchannels.set(vchannel, {
      name: vchannel,
      created,
      id,
      tick,
      segments: new Map(),
      ...detailsOf(created),
    });
    headers.set(vchannel, created);
  };

  return {
    vchannels,
    headers,
    apply(message) {
      if (message.type === createCollection) create(message);
      if (message.type === dropCollection) {
        vchannels.delete(message.vchannel);
        headers.delete(message.vchannel);
      }
      const vchannel = vchannels.get(message.vchannel);
      if (vchannel) change(vchannel, message);
    },
    check({ name, schemaVersion, partitions }, facts) {
      const other = facts.schemaVersion !== schemaVersion;
      if (schemaVersion !== 0 && facts.schemaVersion !== 0 && other) {
        throw new MillraceError(
          "SCHEMA_VERSION_MISMATCH",
          `${name} has schema version ${schemaVersion}, not ${facts.schemaVersion}; refresh the catalog`,
          { expected: String(schemaVersion) },
        );
      }
      if (partitions.size > 0 && !partitions.has(facts.partition)) {
        throw new MillraceError(
          "PARTITION_NOT_FOUND",
          `${name} has no partition ${facts.partition}; refresh the catalog`,
        );
      }
    },
    snapshot: () => [...vchannels.values()].map(toSnapshot),
  };
}

/** What is to be known of an insert; `undefined` if the message is none, or cannot be read. */
export function insertFacts({ type, header, payload }: WalMessage): InsertFacts | undefined {
  const found = type === insert ? read(InsertHeaderSchema, header) : undefined;
  if (!found) return undefined;
  const { partitionId, rows, schemaVersion } = found;
  return { partition: partitionId, rows, bytes: payload.length, schemaVersion };
}

function change(vchannel: Vchannel, { type, header, tick }: ShardMessage): void {
  const { partitions, segments } = vchannel;
  switch (type) {
    case createPartition:
    case dropPartition: {
      const partition = read(PartitionHeaderSchema, header)?.partition;
      if (!partition) return;
      if (type === createPartition) partitions.add(partition.id);
      else partitions.delete(partition.id);
      if (type === dropPartition) segments.delete(partition.id);
      return;
    }
    case alterCollection: {
      const schema = read(AlterCollectionHeaderSchema, header)?.collection?.schema;
      if (schema) vchannel.schemaVersion = schema.version;
      segments.clear();
      return;
    }
    case manualFlush:
    case truncateCollection:
      segments.clear();
      return;
    case createSegment: {
      const created = read(CreateSegmentHeaderSchema, header);
      if (!created) return;
      const { partitionId, maxRows, maxBytes } = created;
      segments.set(partitionId, {
        id: tick,
        rows: 0,
        bytes: 0,
        maxRows: Number(maxRows),
        maxBytes: Number(maxBytes),
      });
    }
  }
}

function detailsOf(
  header: Uint8Array,
): Pick<Vchannel, "collection" | "schemaVersion" | "partitions"> {
  const collection = read(CreateCollectionHeaderSchema, header)?.collection;
  return {
    collection: collection?.id ?? 0n,
    schemaVersion: collection?.schema?.version ?? 0,
    partitions: new Set(collection?.partitions.map(({ id }) => id) ?? []),
  };
}

function toSnapshot(vchannel: Vchannel): VchannelSnapshot {
  const { name, created, id, tick, schemaVersion, partitions, segments } = vchannel;
  return {
    name,
    created,
    id,
    tick,
    schemaVersion,
    partitions: [...partitions].map(String),
    // A segment that is on its way is found again by replay, or was never there.
    segments: [...segments]
      .filter(([, segment]) => segment.id !== 0n)
      .map(([partition, segment]) => ({ partition: String(partition), ...segment })),
  };
}

/** The header as a message; `undefined` if it is not one: a log carries what it does not know. */
function read<Desc extends DescMessage>(
  schema: Desc,
  header: Uint8Array,
): MessageShape<Desc> | undefined {
  try {
    return fromBinary(schema, header);
  } catch {
    return undefined;
  }
}
