/**
 * Collections as the coordinator holds them, kept until the catalog changes.
 *
 * @module
 */

import { type Live, readLive } from "@millrace/types";
import type { Collection } from "@millrace/types/gen";

/** Collections by name. */
export interface CatalogCache {
  /** The collection, from memory if it is there. `COLLECTION_NOT_FOUND` if there is none. */
  get(name: string, signal: AbortSignal): Promise<Collection>;
  /** The collection as it is now. */
  refresh(name: string, signal: AbortSignal): Promise<Collection>;
  /** Forgets one collection, or all. */
  drop(name?: string): void;
}

/** Asks the coordinator. */
export type DescribeCollection = (name: string, signal: AbortSignal) => Promise<Collection>;

/** A cache of at most `maxEntries` collections; those not asked for the longest go first. */
export function createCatalogCache(
  describe: DescribeCollection,
  maxEntries: Live<number>,
): CatalogCache {
  const most = readLive(maxEntries);
  const entries = new Map<string, Collection>();
  // Grows when anything is forgotten, so that an answer under way from before is not kept.
  let generation = 0;

  const load = async (name: string, signal: AbortSignal): Promise<Collection> => {
    const asked = generation;
    const collection = await describe(name, signal);
    if (asked === generation) remember(name, collection);
    return collection;
  };

  const remember = (name: string, collection: Collection): void => {
    entries.delete(name);
    entries.set(name, collection);
    for (const oldest of entries.keys()) {
      if (entries.size <= most()) return;
      entries.delete(oldest);
    }
  };

  return {
    async get(name, signal) {
      const known = entries.get(name);
      if (!known) return load(name, signal);
      remember(name, known);
      return known;
    },
    refresh(name, signal) {
      entries.delete(name);
      return load(name, signal);
    },
    drop(name) {
      generation++;
      if (name === undefined) entries.clear();
      else entries.delete(name);
    },
  };
}
