/**
 * Collections as they are saved, and the changes to them that are under way.
 *
 * `coord/collections/<id>` holds a Collection. `coord/ddl/<id>` holds the one change of that
 * collection that is under way, as the very message that is to stand in each of its vchannels; while
 * it stands there the change may be half done, and is carried on after a restart.
 *
 * @module
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { compareText } from "@millrace/balancer";
import type { MetaEntry, MetaStore } from "@millrace/storage";
import { MillraceError, pchannelOf } from "@millrace/types";
import {
  type Collection,
  CollectionSchema$,
  CreateCollectionHeaderSchema,
  DropCollectionHeaderSchema,
  type Message,
  MessageSchema,
  MessageType,
  type Partition,
  PartitionHeaderSchema,
} from "@millrace/types/gen";
import { type Cell, createCell } from "./cell.ts";

/** A change of one collection. */
export type Change =
  | { kind: "create"; collection: Collection }
  | { kind: "drop"; collection: Collection }
  | { kind: "create-partition"; collection: Collection; partition: Partition }
  | { kind: "drop-partition"; collection: Collection; partition: Partition };

/** The catalog. Reads answer from memory; a write is saved before it is seen. */
export interface Catalog {
  /** A collection that users see: created, and not being dropped. */
  find(name: string): Collection | undefined;
  /** All that users see, by name. */
  list(): Collection[];
  /** The changes that are under way. */
  changes(): Change[];
  /** The collection of each vchannel that is in use, by pchannel. */
  vchannels(): Map<string, string[]>;
  /** Saves that a change is under way. What it drops is hidden from then on. */
  begin(change: Change): Promise<void>;
  /** Saves what a change has led to, then that it is over. */
  finish(change: Change): Promise<void>;
}

interface Entry {
  collection: Collection | undefined;
  collectionCell: Cell;
  change: Change | undefined;
  changeCell: Cell;
}

const collections = "coord/collections/";
const changes = "coord/ddl/";

/** Loads the catalog. `onChange` is called after each change that users see, and must not throw. */
export async function openCatalog(meta: MetaStore, onChange: () => void): Promise<Catalog> {
  const entries = new Map<bigint, Entry>();
  // Of the collections that users see.
  const names = new Map<string, bigint>();

  const entryOf = (id: bigint): Entry => {
    const known = entries.get(id);
    if (known) return known;
    const entry: Entry = {
      collection: undefined,
      collectionCell: createCell(meta, `${collections}${id}`),
      change: undefined,
      changeCell: createCell(meta, `${changes}${id}`),
    };
    entries.set(id, entry);
    return entry;
  };

  const [savedCollections, savedChanges] = await Promise.all([
    meta.list(collections),
    meta.list(changes),
  ]);
  for (const saved of savedCollections) {
    const collection = read(saved, (bytes) => fromBinary(CollectionSchema$, bytes));
    const entry = entryOf(collection.id);
    entry.collection = collection;
    entry.collectionCell = createCell(meta, saved.key, saved);
  }
  for (const saved of savedChanges) {
    const entry = entryOf(BigInt(saved.key.slice(changes.length)));
    entry.changeCell = createCell(meta, saved.key, saved);
    const change = read(saved, (bytes) =>
      changeOf(fromBinary(MessageSchema, bytes), entry.collection),
    );
    // A drop whose collection is gone was all but over.
    if (change === undefined) await entry.changeCell.remove();
    entry.change = change;
  }
  for (const [id, { collection, change }] of entries) {
    if (collection && change?.kind !== "drop") names.set(collection.name, id);
  }

  const visible = (entry: Entry): Collection | undefined => {
    const { collection, change } = entry;
    if (collection === undefined || change?.kind === "drop") return undefined;
    if (change?.kind !== "drop-partition") return collection;
    return withoutPartition(collection, change.partition);
  };

  return {
    find(name) {
      const id = names.get(name);
      const entry = id === undefined ? undefined : entries.get(id);
      return entry && visible(entry);
    },
    list: () =>
      [...entries.values()]
        .map(visible)
        .filter((collection) => collection !== undefined)
        .sort((a, b) => compareText(a.name, b.name)),
    changes: () =>
      [...entries.values()].map((entry) => entry.change).filter((change) => change !== undefined),
    vchannels() {
      const found = new Map<string, string[]>();
      for (const { collection, change } of entries.values()) {
        const { id, vchannels } = collection ?? change?.collection ?? { id: 0n, vchannels: [] };
        for (const vchannel of vchannels) {
          const pchannel = pchannelOf(vchannel);
          const on = found.get(pchannel);
          if (on) on.push(id.toString());
          else found.set(pchannel, [id.toString()]);
        }
      }
      return found;
    },
    async begin(change) {
      const entry = entryOf(change.collection.id);
      // Nobody sees it yet, but its vchannels count from now on, so that the next one goes elsewhere.
      if (change.kind === "create") entry.change = change;
      await entry.changeCell.write(toBinary(MessageSchema, messageOf(change)));
      entry.change = change;
      if (change.kind === "drop") names.delete(change.collection.name);
      onChange();
    },
    async finish(change) {
      const { id } = change.collection;
      const entry = entryOf(id);
      const result = resultOf(change);
      if (result) await entry.collectionCell.write(toBinary(CollectionSchema$, result));
      else await entry.collectionCell.remove();
      await entry.changeCell.remove();
      entry.collection = result;
      entry.change = undefined;
      if (result) names.set(result.name, id);
      else entries.delete(id);
      onChange();
    },
  };
}

/** The message that a change puts into each vchannel of its collection, but for the vchannel. */
export function messageOf(change: Change): Message {
  const { collection } = change;
  switch (change.kind) {
    case "create":
      return create(MessageSchema, {
        type: MessageType.CREATE_COLLECTION,
        header: toBinary(
          CreateCollectionHeaderSchema,
          create(CreateCollectionHeaderSchema, { collection }),
        ),
      });
    case "drop":
      return create(MessageSchema, {
        type: MessageType.DROP_COLLECTION,
        header: toBinary(
          DropCollectionHeaderSchema,
          create(DropCollectionHeaderSchema, { collectionId: collection.id }),
        ),
      });
    case "create-partition":
    case "drop-partition":
      return create(MessageSchema, {
        type:
          change.kind === "create-partition"
            ? MessageType.CREATE_PARTITION
            : MessageType.DROP_PARTITION,
        header: toBinary(
          PartitionHeaderSchema,
          create(PartitionHeaderSchema, {
            collectionId: collection.id,
            partition: change.partition,
          }),
        ),
      });
  }
}

/** The inverse of {@linkcode messageOf}; `undefined` if the collection that it changes is gone. */
function changeOf(message: Message, existing: Collection | undefined): Change | undefined {
  if (message.type === MessageType.CREATE_COLLECTION) {
    const { collection } = fromBinary(CreateCollectionHeaderSchema, message.header);
    if (collection === undefined) throw new Error("the header has no collection");
    return { kind: "create", collection };
  }
  if (existing === undefined) return undefined;
  if (message.type === MessageType.DROP_COLLECTION) return { kind: "drop", collection: existing };
  const { partition } = fromBinary(PartitionHeaderSchema, message.header);
  if (partition === undefined) throw new Error("the header has no partition");
  if (message.type === MessageType.CREATE_PARTITION) {
    return { kind: "create-partition", collection: existing, partition };
  }
  if (message.type === MessageType.DROP_PARTITION) {
    return { kind: "drop-partition", collection: existing, partition };
  }
  throw new Error(`a message of type ${message.type} is not a change of a collection`);
}

/** The collection after a change; `undefined`: there is none any more. */
function resultOf(change: Change): Collection | undefined {
  const { collection } = change;
  switch (change.kind) {
    case "create":
      return collection;
    case "drop":
      return undefined;
    case "create-partition": {
      const { partitions } = withoutPartition(collection, change.partition);
      return { ...collection, partitions: [...partitions, change.partition] };
    }
    case "drop-partition":
      return withoutPartition(collection, change.partition);
  }
}

function withoutPartition(collection: Collection, partition: Partition): Collection {
  const partitions = collection.partitions.filter((other) => other.id !== partition.id);
  return { ...collection, partitions };
}

function read<T>(entry: MetaEntry, decode: (bytes: Uint8Array) => T): T {
  try {
    return decode(entry.value);
  } catch (cause) {
    throw new MillraceError(
      "DATA_LOSS",
      `the metadata at ${entry.key} cannot be read; restore it from a backup`,
      { cause },
    );
  }
}
