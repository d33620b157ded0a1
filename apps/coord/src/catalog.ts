/**
 * Collections as they are saved: `coord/collections/<id>` holds a Collection. Who may change one when
 * is for the broadcasts to say, whose callbacks make the changes; so a repeat changes nothing.
 *
 * @module
 */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { compareText } from "@millrace/balancer";
import type { MetaEntry, MetaStore } from "@millrace/storage";
import { MillraceError, pchannelOf } from "@millrace/types";
import { type Collection, CollectionSchema$ } from "@millrace/types/gen";
import { type Cell, createCell } from "./cell.ts";

/** The catalog. Reads answer from memory; a change is saved before it is seen. */
export interface Catalog {
  find(name: string): Collection | undefined;
  /** All collections, in no order. */
  all(): Collection[];
  /** All collections, by name. */
  list(): Collection[];
  /** Adds a collection; nothing if there is one of its id. */
  create(collection: Collection): Promise<void>;
  /** Removes a collection; nothing if there is none. */
  remove(id: bigint): Promise<void>;
  /** Puts what `to` makes of a collection in its place; nothing if there is none, or it is the same. */
  change(id: bigint, to: (collection: Collection) => Collection): Promise<void>;
}

interface Entry {
  collection: Collection;
  cell: Cell;
}

const prefix = "coord/collections/";

/** Loads the catalog. `onChange` is called after each change, and must not throw. */
export async function openCatalog(meta: MetaStore, onChange: () => void): Promise<Catalog> {
  const entries = new Map<bigint, Entry>();
  const names = new Map<string, bigint>();

  for (const saved of await meta.list(prefix)) {
    const collection = read(saved);
    entries.set(collection.id, { collection, cell: createCell(meta, saved.key, saved) });
    names.set(collection.name, collection.id);
  }

  const all = (): Collection[] => [...entries.values()].map(({ collection }) => collection);

  return {
    find(name) {
      const id = names.get(name);
      return id === undefined ? undefined : entries.get(id)?.collection;
    },
    all,
    list: () => all().sort((a, b) => compareText(a.name, b.name)),
    async create(collection) {
      const { id, name } = collection;
      if (entries.has(id)) return;
      const cell = createCell(meta, `${prefix}${id}`);
      await cell.write(toBinary(CollectionSchema$, collection));
      entries.set(id, { collection, cell });
      names.set(name, id);
      onChange();
    },
    async remove(id) {
      const entry = entries.get(id);
      if (!entry) return;
      await entry.cell.remove();
      entries.delete(id);
      names.delete(entry.collection.name);
      onChange();
    },
    async change(id, to) {
      const entry = entries.get(id);
      const changed = entry && to(entry.collection);
      if (!entry || !changed || changed === entry.collection) return;
      await entry.cell.write(toBinary(CollectionSchema$, changed));
      entry.collection = changed;
      onChange();
    },
  };
}

/** The ids of the collections that have a vchannel on each pchannel. */
export function collectionsByPchannel(collections: Iterable<Collection>): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { id, vchannels } of collections) {
    for (const vchannel of vchannels) {
      const pchannel = pchannelOf(vchannel);
      const on = found.get(pchannel);
      if (on) on.push(id.toString());
      else found.set(pchannel, [id.toString()]);
    }
  }
  return found;
}

function read({ key, value }: MetaEntry): Collection {
  try {
    return fromBinary(CollectionSchema$, value);
  } catch (cause) {
    throw new MillraceError(
      "DATA_LOSS",
      `the metadata at ${key} cannot be read; restore it from a backup`,
      { cause },
    );
  }
}
