/**
 * One key of the MetaStore that this coordinator alone writes.
 *
 * @module
 */

import type { MetaEntry, MetaStore } from "@millrace/storage";

/** A key and the revision that it is known to have. */
export interface Cell {
  /** Reads the value; `undefined` if there is none. */
  read(): Promise<Uint8Array | undefined>;
  /** Writes the value under the revision that was seen last. */
  write(value: Uint8Array): Promise<void>;
  /** Removes the key. */
  remove(): Promise<void>;
}

/**
 * Creates a cell; with `entry` it is known what stands there. After a call that failed the outcome is
 * unknown, so the next one reads first.
 */
export function createCell(meta: MetaStore, key: string, entry?: MetaEntry): Cell {
  let revision: string | null = entry?.revision ?? null;
  let known = entry !== undefined;

  const read = async (): Promise<Uint8Array | undefined> => {
    const found = await meta.get(key);
    revision = found?.revision ?? null;
    known = true;
    return found?.value;
  };

  return {
    read,
    async write(value) {
      if (!known) await read();
      known = false;
      revision = await meta.put(key, value, { expected: revision });
      known = true;
    },
    async remove() {
      if (!known) await read();
      known = false;
      if (revision !== null) await meta.delete(key, { expected: revision });
      revision = null;
      known = true;
    },
  };
}
