/**
 * A saved upper bound of numbers that are handed out, so that none is handed out twice after a crash.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";
import { type Cell, createCell } from "./cell.ts";

/** Numbers from `floor` on and below `limit` may be handed out. Both only grow. */
export interface HighWater {
  readonly floor: bigint;
  readonly limit: bigint;
  /**
   * Saves a higher limit. One write at a time: a call during another one waits for that one, so look
   * at `limit` afterwards.
   */
  raise(to: bigint): Promise<void>;
}

/** Loads the bound at `key`; what was handed out under it before lies below `floor`. */
export async function openHighWater(meta: MetaStore, key: string): Promise<HighWater> {
  const cell: Cell = createCell(meta, key);
  let limit = await readBound(cell, key);
  let floor = limit;
  let raising: Promise<void> | undefined;
  let known = true;

  const save = async (to: bigint): Promise<void> => {
    if (!known) {
      // A failed write may have been applied, and whether by us is not known: skip what it covers.
      floor = await readBound(cell, key);
      if (floor > limit) limit = floor;
      known = true;
    }
    if (to <= limit) return;
    known = false;
    await cell.write(new TextEncoder().encode(to.toString()));
    known = true;
    limit = to;
  };

  return {
    get floor() {
      return floor;
    },
    get limit() {
      return limit;
    },
    raise(to) {
      raising ??= save(to).finally(() => {
        raising = undefined;
      });
      return raising;
    },
  };
}

async function readBound(cell: Cell, key: string): Promise<bigint> {
  const bytes = await cell.read();
  if (bytes === undefined) return 0n;
  const text = new TextDecoder().decode(bytes);
  if (!/^\d{1,20}$/.test(text)) {
    throw new MillraceError(
      "DATA_LOSS",
      `the metadata at ${key} is not a number; restore it from a backup`,
    );
  }
  return BigInt(text);
}
