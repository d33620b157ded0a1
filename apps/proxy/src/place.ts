/**
 * Rows into messages: each to the shard of its key, those of a shard cut by size.
 *
 * @module
 */

import { toBinary } from "@bufbuild/protobuf";
import { batchBytes } from "@millrace/types";
import {
  type Column,
  type ColumnBatch,
  ColumnBatchSchema,
  type MessageType,
} from "@millrace/types/gen";
import { groupByShard, shardsOfKeys, splitBySize } from "./route.ts";
import type { VchannelWrite } from "./write.ts";

/** Options of {@linkcode placeByKey}. */
export interface PlaceByKeyOptions {
  /** In shard order. */
  vchannels: readonly string[];
  /** About the most bytes of a message; a single row may be larger. */
  messageBytes: number;
  type: MessageType;
  /** The header of a message with so many rows. */
  headerOf: (rows: number) => Uint8Array;
}

/** The messages of each vchannel that gets rows of the batch, `keys` being one of its columns. */
export function placeByKey(
  batch: ColumnBatch,
  keys: Column,
  options: PlaceByKeyOptions,
): VchannelWrite[] {
  const { vchannels, messageBytes, type, headerOf } = options;
  const shardOf = shardsOfKeys(keys, batch.rows, vchannels.length);
  return groupByShard(batch, shardOf, vchannels.length).map(({ shard, rows }) => {
    const vchannel = vchannels[shard] as string;
    const messages = splitBySize(rows, messageBytes).map((part) => ({
      type,
      vchannel,
      header: headerOf(part.rows),
      payload: toBinary(ColumnBatchSchema, part),
    }));
    return { vchannel, messages, bytes: batchBytes(rows) };
  });
}
