/**
 * Segments: which segment an insert belongs to, and when another one begins.
 *
 * A segment that is missing is created in the same batch, right before the insert that needs it. So an
 * insert belongs to the last segment that was created for its partition before it, and nothing need be
 * written into the insert itself.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import type { Random } from "@millrace/types";
import { CreateSegmentHeaderSchema } from "@millrace/types/gen";
import type { WalMessage } from "../record-batch.ts";
import type { Companions } from "./companions.ts";
import { createSegment } from "./message-types.ts";
import type { InsertFacts, Segment, Vchannel } from "./shards.ts";

/** When a segment is full. */
export interface SegmentLimits {
  /** Rows. Default 4 000 000. */
  rows?: number | undefined;
  /** Bytes of rows as they are sent. Default 122.88 MiB: 0.12 of 1 GiB, as in Milvus. */
  bytes?: number | undefined;
  /** Takes up to a tenth off each segment's bytes, so that segments are not full all at once. */
  random: Random;
}

interface Growth {
  partition: bigint;
  segment: Segment;
  created: boolean;
  rows: number;
  bytes: number;
}

const jitter = 0.1;
const noBytes: Uint8Array = new Uint8Array(0);

/**
 * The CREATE_SEGMENT messages that an append's inserts need, for which there is no room in the growing
 * segments of a vchannel. They stand before the append, so its inserts of one partition belong to one
 * segment, also if they are more than it takes.
 */
export function claimSegments(
  vchannel: Vchannel,
  inserts: readonly InsertFacts[],
  limits: SegmentLimits,
): Companions {
  const growths: Growth[] = [];
  const creations: { messages: readonly WalMessage[] }[] = [];
  for (const { partition, rows, bytes } of byPartition(inserts)) {
    const growing = vchannel.segments.get(partition);
    const segment = growing && hasRoom(growing, rows, bytes) ? growing : begin(limits);
    const created = segment !== growing;
    if (created) {
      vchannel.segments.set(partition, segment);
      creations.push({ messages: [creationOf(vchannel, partition, segment)] });
    }
    segment.rows += rows;
    segment.bytes += bytes;
    growths.push({ partition, segment, created, rows, bytes });
  }
  return {
    appends: creations,
    committed({ firstTick }, index) {
      let at = index;
      for (const { segment, created } of growths) {
        if (created) segment.id = firstTick + BigInt(at++);
      }
    },
    failed() {
      for (const { partition, segment, created, rows, bytes } of growths) {
        segment.rows -= rows;
        segment.bytes -= bytes;
        if (created && vchannel.segments.get(partition) === segment) {
          vchannel.segments.delete(partition);
        }
      }
    },
  };
}

/** One for each partition, in the order of their first inserts. */
function byPartition(inserts: readonly InsertFacts[]): Iterable<InsertFacts> {
  if (inserts.length === 1) return inserts;
  const sums = new Map<bigint, InsertFacts>();
  for (const facts of inserts) {
    const sum = sums.get(facts.partition);
    if (sum) {
      sum.rows += facts.rows;
      sum.bytes += facts.bytes;
    } else sums.set(facts.partition, { ...facts });
  }
  return sums.values();
}

/** Counts an insert that stands in the log. */
export function countInsert(vchannel: Vchannel, { partition, rows, bytes }: InsertFacts): void {
  const segment = vchannel.segments.get(partition);
  if (!segment) return;
  segment.rows += rows;
  segment.bytes += bytes;
}

function hasRoom(segment: Segment, rows: number, bytes: number): boolean {
  return segment.rows + rows <= segment.maxRows && segment.bytes + bytes <= segment.maxBytes;
}

function begin({ rows = 4_000_000, bytes = 128_849_018, random }: SegmentLimits): Segment {
  const maxBytes = Math.floor(bytes * (1 - jitter * random.next()));
  return { id: 0n, rows: 0, bytes: 0, maxRows: rows, maxBytes };
}

function creationOf(vchannel: Vchannel, partition: bigint, segment: Segment): WalMessage {
  const header = create(CreateSegmentHeaderSchema, {
    collectionId: vchannel.collection,
    partitionId: partition,
    schemaVersion: vchannel.schemaVersion,
    maxRows: BigInt(segment.maxRows),
    maxBytes: BigInt(segment.maxBytes),
  });
  return {
    type: createSegment,
    vchannel: vchannel.name,
    header: toBinary(CreateSegmentHeaderSchema, header),
    payload: noBytes,
  };
}
