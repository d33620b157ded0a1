/**
 * Which shard a row goes to, and into which messages a shard's rows are cut.
 *
 * @module
 */

import { rowBytes, sliceRows, takeRows } from "@millrace/types";
import { type Column, type ColumnBatch, DataType } from "@millrace/types/gen";
import { crc32, murmur3 } from "./hash.ts";

/** How many bytes of a VARCHAR key count for its shard. */
const hashedBytes = 100;

/**
 * The shard (from 0) of each row by its primary key, as Milvus places it: INT64 by MurmurHash3 of its
 * eight bytes, VARCHAR by CRC-32 of its first 100 bytes.
 */
export function shardsOfKeys(keys: Column, rows: number, shards: number): Uint32Array {
  const result = new Uint32Array(rows);
  if (shards === 1) return result;
  const { values } = keys;
  if (keys.type === DataType.INT64) {
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    for (let row = 0; row < rows; row++) {
      const hash = murmur3(view.getUint32(row * 8, true), view.getUint32(row * 8 + 4, true));
      result[row] = (hash & 0x7fffffff) % shards;
    }
    return result;
  }
  const offsets = new DataView(keys.offsets.buffer, keys.offsets.byteOffset);
  for (let row = 0; row < rows; row++) {
    const start = offsets.getUint32(row * 4, true);
    const end = offsets.getUint32(row * 4 + 4, true);
    result[row] = crc32(values, start, Math.min(end, start + hashedBytes)) % shards;
  }
  return result;
}

/** The shard of an INT64 primary key. */
export function shardOfId(id: bigint, shards: number): number {
  const low = Number(id & 0xffffffffn);
  const high = Number((id >> 32n) & 0xffffffffn);
  return (murmur3(low, high) & 0x7fffffff) % shards;
}

/** The rows of one shard. */
export interface ShardRows {
  shard: number;
  rows: ColumnBatch;
}

/** The rows by shard, in their order; shards without rows are absent. */
export function groupByShard(
  batch: ColumnBatch,
  shardOf: Uint32Array,
  shards: number,
): ShardRows[] {
  if (shards === 1) return [{ shard: 0, rows: batch }];
  const counts = new Uint32Array(shards);
  for (const shard of shardOf) counts[shard] = (counts[shard] as number) + 1;
  const groups = Array.from(counts, (count) => new Uint32Array(count));
  const filled = new Uint32Array(shards);
  for (let row = 0; row < shardOf.length; row++) {
    const shard = shardOf[row] as number;
    const at = filled[shard] as number;
    (groups[shard] as Uint32Array)[at] = row;
    filled[shard] = at + 1;
  }
  return groups.flatMap((rows, shard) =>
    rows.length === 0 ? [] : [{ shard, rows: takeRows(batch, rows) }],
  );
}

/** Cuts rows into parts of at most about `targetBytes`, at least one row each. */
export function splitBySize(batch: ColumnBatch, targetBytes: number): ColumnBatch[] {
  const sizes = rowBytes(batch);
  const parts: ColumnBatch[] = [];
  let start = 0;
  let bytes = 0;
  for (let row = 0; row < sizes.length; row++) {
    const size = sizes[row] as number;
    if (row > start && bytes + size > targetBytes) {
      parts.push(sliceRows(batch, start, row));
      start = row;
      bytes = 0;
    }
    bytes += size;
  }
  parts.push(start === 0 ? batch : sliceRows(batch, start, batch.rows));
  return parts;
}
