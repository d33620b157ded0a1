/**
 * Changes of the catalog as messages, and what follows from each when every vchannel has it.
 *
 * @module
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Callback } from "@millrace/broadcaster";
import type { Logger } from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  type Collection,
  CreateCollectionHeaderSchema,
  DropCollectionHeaderSchema,
  MessageType,
  type Partition,
  PartitionHeaderSchema,
  TruncateCollectionHeaderSchema,
} from "@millrace/types/gen";
import type { Catalog } from "./catalog.ts";

/** The header of CREATE_COLLECTION. */
export function creationHeader(collection: Collection): Uint8Array {
  const header = create(CreateCollectionHeaderSchema, { collection });
  return toBinary(CreateCollectionHeaderSchema, header);
}

/** The collection that a header of CREATE_COLLECTION creates. */
export function createdCollection(header: Uint8Array): Collection {
  return present(fromBinary(CreateCollectionHeaderSchema, header).collection);
}

/** The header of DROP_COLLECTION. */
export function dropHeader(collectionId: bigint): Uint8Array {
  return toBinary(DropCollectionHeaderSchema, create(DropCollectionHeaderSchema, { collectionId }));
}

/** The header of ALTER_COLLECTION: the collection as it is to be. */
export function alterHeader(collection: Collection): Uint8Array {
  const header = create(AlterCollectionHeaderSchema, { collection });
  return toBinary(AlterCollectionHeaderSchema, header);
}

/** The header of TRUNCATE_COLLECTION. */
export function truncateHeader(collectionId: bigint): Uint8Array {
  return toBinary(
    TruncateCollectionHeaderSchema,
    create(TruncateCollectionHeaderSchema, { collectionId }),
  );
}

/** The header of CREATE_PARTITION and DROP_PARTITION. */
export function partitionHeader(collectionId: bigint, partition: Partition): Uint8Array {
  const header = create(PartitionHeaderSchema, { collectionId, partition });
  return toBinary(PartitionHeaderSchema, header);
}

/** The callbacks of all messages that the coordinator broadcasts. */
export function createCallbacks(catalog: Catalog, logger: Logger): Map<number, Callback> {
  const changes: [MessageType, (header: Uint8Array) => Promise<void>][] = [
    [MessageType.CREATE_COLLECTION, (header) => catalog.create(createdCollection(header))],
    [
      MessageType.DROP_COLLECTION,
      (header) => catalog.remove(fromBinary(DropCollectionHeaderSchema, header).collectionId),
    ],
    [
      MessageType.ALTER_COLLECTION,
      (header) => {
        const altered = present(fromBinary(AlterCollectionHeaderSchema, header).collection);
        return catalog.change(altered.id, (collection) => withSchema(collection, altered));
      },
    ],
    [
      MessageType.CREATE_PARTITION,
      (header) => {
        const { collectionId, partition } = fromBinary(PartitionHeaderSchema, header);
        return catalog.change(collectionId, (c) => withPartition(c, present(partition)));
      },
    ],
    [
      MessageType.DROP_PARTITION,
      (header) => {
        const { collectionId, partition } = fromBinary(PartitionHeaderSchema, header);
        return catalog.change(collectionId, (c) => withoutPartition(c, present(partition)));
      },
    ],
    // The catalog has no part in these.
    [MessageType.TRUNCATE_COLLECTION, async () => undefined],
    [MessageType.MANUAL_FLUSH, async () => undefined],
  ];
  const callbackOf = (
    type: MessageType,
    apply: (header: Uint8Array) => Promise<void>,
  ): [number, Callback] => [
    type,
    async ({ id, message, leftOut }) => {
      await apply(message.header);
      logger.info("broadcast done", { id, type, leftOut });
    },
  ];
  return new Map(changes.map(([type, apply]) => callbackOf(type, apply)));
}

function withSchema(collection: Collection, { schema }: Collection): Collection {
  const isNewer = (schema?.version ?? 0) > (collection.schema?.version ?? 0);
  return schema && isNewer ? { ...collection, schema } : collection;
}

function withPartition(collection: Collection, partition: Partition): Collection {
  if (collection.partitions.some(({ id }) => id === partition.id)) return collection;
  return { ...collection, partitions: [...collection.partitions, partition] };
}

function withoutPartition(collection: Collection, partition: Partition): Collection {
  const partitions = collection.partitions.filter(({ id }) => id !== partition.id);
  return { ...collection, partitions };
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the header of a change of the catalog lacks a part");
  return value;
}
