/**
 * What counts in the log, as a flusher sees it.
 *
 * @module
 */

import { fromBinary } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  type Collection,
  type CollectionSchema,
  CreateCollectionHeaderSchema,
  DeleteHeaderSchema,
  InsertHeaderSchema,
  MessageType,
  type Partition,
  PartitionHeaderSchema,
} from "@millrace/types/gen";
import type { Delivery, StoredMessage } from "@millrace/wal";
import type { Piece } from "./segment.ts";

/** The rows of a message, and where they belong. */
export interface PartitionPiece extends Piece {
  partitionId: bigint;
}

/** One message. An empty vchannel stands for all. */
export type LogEvent = { vchannel: string } & (
  | { kind: "insert"; piece: PartitionPiece }
  | { kind: "delete"; rows: number }
  | { kind: "create"; collection: Collection }
  | { kind: "partition"; partition: Partition }
  | { kind: "alter"; schema: CollectionSchema }
  | { kind: "truncate" }
  | { kind: "drop" }
  | { kind: "flush" }
);

/**
 * The messages that matter to tables, in order. Throws `DATA_LOSS` with the place of a message that
 * cannot be read.
 */
export function readEvents(deliveries: readonly Delivery[]): LogEvent[] {
  const events: LogEvent[] = [];
  for (const { id, messages } of deliveries) {
    for (const message of messages) {
      const event = readEvent(message, id.sequence);
      if (event) events.push(event);
    }
  }
  return events;
}

function readEvent(message: StoredMessage, sequence: number): LogEvent | undefined {
  try {
    return eventOf(message, sequence);
  } catch (cause) {
    const { type, id } = message;
    throw new MillraceError(
      "DATA_LOSS",
      `message ${id.index} of batch ${id.sequence} is of type ${type} and its header cannot be read`,
      { cause },
    );
  }
}

function eventOf(message: StoredMessage, sequence: number): LogEvent | undefined {
  const { type, vchannel, header } = message;
  switch (type) {
    case MessageType.INSERT: {
      const { partitionId, rows } = fromBinary(InsertHeaderSchema, header);
      // A view keeps all of what it is a view of: no small part is to hold up a large whole.
      const { byteLength, buffer } = message.payload;
      const small = byteLength * 2 < buffer.byteLength;
      const payload = small ? message.payload.slice() : message.payload;
      const piece = { partitionId, rows, payload, sequence };
      return { kind: "insert", vchannel, piece };
    }
    case MessageType.DELETE:
      return { kind: "delete", vchannel, rows: fromBinary(DeleteHeaderSchema, header).rows };
    case MessageType.CREATE_COLLECTION: {
      const { collection } = fromBinary(CreateCollectionHeaderSchema, header);
      return collection && { kind: "create", vchannel, collection };
    }
    case MessageType.CREATE_PARTITION: {
      const { partition } = fromBinary(PartitionHeaderSchema, header);
      return partition && { kind: "partition", vchannel, partition };
    }
    case MessageType.ALTER_COLLECTION: {
      const schema = fromBinary(AlterCollectionHeaderSchema, header).collection?.schema;
      return schema && { kind: "alter", vchannel, schema };
    }
    case MessageType.TRUNCATE_COLLECTION:
      return { kind: "truncate", vchannel };
    case MessageType.DROP_COLLECTION:
      return { kind: "drop", vchannel };
    case MessageType.MANUAL_FLUSH:
      return { kind: "flush", vchannel };
    default:
      return undefined;
  }
}
