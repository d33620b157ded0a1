/**
 * Ids for autoId primary keys, taken from the coordinator in blocks.
 *
 * @module
 */

import { shardOfId } from "./route.ts";

/** Gives ids that never repeat. */
export interface IdSource {
  /** `count` ids, growing. */
  take(count: number, signal: AbortSignal): Promise<BigInt64Array>;
}

/** Takes a block of `count` ids (1 to 10000000) from the coordinator; answers its first. */
export type AllocateIds = (
  count: number,
  signal: AbortSignal,
) => Promise<{ first: bigint; count: number }>;

/** Blocks have at least this many ids, so that small inserts seldom wait for the coordinator. */
const minBlock = 65_536;
const maxBlock = 1_000_000;

/** An id source that keeps the rest of a block for the next call. Calls take turns. */
export function createIdSource(allocate: AllocateIds): IdSource {
  let next = 0n;
  let left = 0;
  let turn: Promise<unknown> = Promise.resolve();

  const fill = async (count: number, signal: AbortSignal): Promise<BigInt64Array> => {
    const ids = new BigInt64Array(count);
    for (let filled = 0; filled < count; ) {
      if (left === 0) {
        const wanted = Math.min(maxBlock, Math.max(minBlock, count - filled));
        const block = await allocate(wanted, signal);
        next = block.first;
        left = block.count;
      }
      const part = Math.min(left, count - filled);
      for (let i = 0; i < part; i++) ids[filled + i] = next++;
      filled += part;
      left -= part;
    }
    return ids;
  };

  return {
    take(count, signal) {
      const result = turn.then(() => fill(count, signal));
      turn = result.catch(() => undefined);
      return result;
    },
  };
}

/** Options of {@linkcode takeIdsByPlace}. */
export interface PlaceOptions {
  count: number;
  shards: number;
  /** The shard of the first row; those of the next follow in turn. */
  firstShard: number;
  signal: AbortSignal;
}

/**
 * Ids such that row `i` falls into shard `(firstShard + i) % shards`. The shard of a row then follows
 * from its place in the call, not from the id it got, and a repeated call sends each row to the shard
 * it went to before.
 */
export async function takeIdsByPlace(
  source: IdSource,
  { count, shards, firstShard, signal }: PlaceOptions,
): Promise<BigInt64Array> {
  if (shards === 1) return source.take(count, signal);
  const result = new BigInt64Array(count);
  // The next row of each shard that has no id yet.
  const nextRow = Array.from(
    { length: shards },
    (_, shard) => (shard - (firstShard % shards) + shards) % shards,
  );
  for (let missing = count; missing > 0; ) {
    const ids = await source.take(missing + 4 * shards, signal);
    for (const id of ids) {
      const shard = shardOfId(id, shards);
      const row = nextRow[shard] as number;
      if (row >= count) continue;
      result[row] = id;
      nextRow[shard] = row + shards;
      missing--;
    }
  }
  return result;
}
