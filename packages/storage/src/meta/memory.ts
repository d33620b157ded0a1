/**
 * MetaStore in memory.
 *
 * @module
 */

import type { Clock } from "@millrace/types";
import type { MetaStore } from "../meta-store.ts";
import { createLocalMetaStore } from "./local.ts";

/** Options of {@linkcode createMemoryMetaStore}. */
export interface MemoryMetaStoreOptions {
  /** So that stores are opened alike; nothing here depends on time. */
  clock?: Clock;
}

/**
 * A MetaStore that lives as long as the process. A lease holds until it is released or overwritten:
 * its holder cannot die alone. For owners that can, as in a simulation, give each a
 * `createObjectMetaStore` over one memory ObjectStore.
 */
export function createMemoryMetaStore(_options: MemoryMetaStoreOptions = {}): MetaStore {
  return createLocalMetaStore({
    name: "memory",
    entries: [],
    revisionPrefix: "",
    journal: { write: async () => undefined, close: async () => undefined },
  });
}
