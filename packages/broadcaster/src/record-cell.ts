/**
 * One key of the MetaStore that one broadcaster writes, and what tells it that another does.
 *
 * @module
 */

import type { MetaEntry, MetaStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";

/** A key and the revision that it is known to have. */
export interface RecordCell {
  readonly key: string;
  /** Writes a value over the one that was seen last. `CHANNEL_FENCED`: another has written. */
  write(value: Uint8Array): Promise<void>;
  /** Removes the key. `CHANNEL_FENCED`: another has written. */
  remove(): Promise<void>;
}

/**
 * Creates a cell of a key at which `entry` is known to stand, or nothing. A write whose outcome is not
 * known is looked for before the next one, by its value.
 */
export function createRecordCell(meta: MetaStore, key: string, entry?: MetaEntry): RecordCell {
  let revision = entry?.revision ?? null;
  /** What was written since the revision was known, and may be there. */
  let attempts: Uint8Array[] = [];
  let removing = false;

  const settle = async (): Promise<void> => {
    const found = await meta.get(key);
    const present = found?.revision ?? null;
    if (present === revision) return;
    if (removing && !found) {
      revision = null;
      return;
    }
    if (!found || !attempts.some((value) => sameBytes(value, found.value))) throw taken(key);
    revision = present;
  };

  return {
    key,
    async write(value) {
      if (attempts.length > 0) await settle();
      if (!attempts.some((attempt) => sameBytes(attempt, value))) attempts.push(value);
      revision = await meta.put(key, value, { expected: revision });
      attempts = [];
    },
    async remove() {
      if (attempts.length > 0 || removing) await settle();
      if (revision === null) return;
      removing = true;
      await meta.delete(key, { expected: revision });
      revision = null;
    },
  };
}

function taken(key: string): MillraceError {
  return new MillraceError(
    "CHANNEL_FENCED",
    `${key} was written by another broadcaster; this one must end`,
    { retryable: false },
  );
}

/** `true` if both are the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
