/**
 * Insert: rows, checked, placed and made durable.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import {
  batchBytes,
  checkColumns,
  defaultPartition,
  int64Column,
  MillraceError,
  primaryKeyOf,
  rowBytes,
  rowsToColumns,
} from "@millrace/types";
import {
  type Collection,
  type ColumnBatch,
  ColumnBatchSchema,
  InsertHeaderSchema,
  type InsertRequest,
  type InsertResponse,
  InsertResponseSchema,
  MessageType,
} from "@millrace/types/gen";
import { idempotencyKey, type ProxyContext, partitionOf, withCollection } from "./context.ts";
import { crc32 } from "./hash.ts";
import { takeIdsByPlace } from "./ids.ts";
import { placeByKey } from "./place.ts";
import { largestTick, type VchannelWrite, write } from "./write.ts";

/** Writes the rows of a call; see ProxyService.Insert. */
export async function insert(
  context: ProxyContext,
  request: InsertRequest,
  signal: AbortSignal,
): Promise<InsertResponse> {
  const key = idempotencyKey("insert", request.idempotencyKey, context.random);
  let runs = 0;
  return withCollection(context, request.collection, signal, async (collection) => {
    runs++;
    const given = readRows(request, collection, context);
    const { rows, ids } = await withIds(context, collection, given, key, signal);
    const writes = placeRows(context, collection, request.partition, rows);
    const answers = await write(context, writes, { key, signal });
    // Under a key of the call's own, a duplicate is what a try of this very run had written.
    const own = request.idempotencyKey === "";
    const repeated = !(own && runs === 1) && answers.some(({ duplicate }) => duplicate);
    return create(InsertResponseSchema, {
      rows: rows.rows,
      tick: largestTick(answers),
      // What an earlier call wrote has the ids of that call, which are not known here.
      ids: repeated ? [] : Array.from(ids),
      duplicate: !own && answers.every(({ duplicate }) => duplicate),
    });
  });
}

/** The rows of a request as columns, checked against schema and limits. */
function readRows(
  request: InsertRequest,
  { schema }: Collection,
  { limits }: ProxyContext,
): ColumnBatch {
  if (!schema) throw new MillraceError("INNER", "the catalog holds a collection without a schema");
  if (request.columns && request.rows.length > 0) {
    throw invalid("columns", "is given together with rows; give one of them");
  }
  if (!request.columns && request.rows.length === 0) {
    throw invalid("rows", "is empty; give at least one row, as rows or as columns");
  }
  const batch = request.columns
    ? checkColumns(schema, request.columns, { path: "columns" })
    : rowsToColumns(schema, request.rows, { path: "rows" });
  if (batch.rows === 0) throw invalid("columns.rows", "is 0; give at least one row");
  checkSizes(batch, limits.maxRowBytes, limits.maxInsertBytes);
  return batch;
}

function checkSizes(batch: ColumnBatch, maxRowBytes: number, maxBytes: number): void {
  const total = batchBytes(batch);
  if (total > maxBytes) {
    throw invalid("rows", `take ${total} bytes; at most ${maxBytes} are allowed in one call`);
  }
  if (total <= maxRowBytes) return;
  const sizes = rowBytes(batch);
  const large = sizes.findIndex((size) => size > maxRowBytes);
  if (large >= 0) {
    throw invalid(
      `rows[${large}]`,
      `takes ${sizes[large]} bytes; a row may have at most ${maxRowBytes}`,
    );
  }
}

/**
 * The rows with the ids of an autoId primary key, in its place among the columns. The shards of the
 * rows follow from the idempotency key, not from the ids, so that a repeated call writes each row
 * where it was before.
 */
async function withIds(
  context: ProxyContext,
  { schema, vchannels }: Collection,
  batch: ColumnBatch,
  key: string,
  signal: AbortSignal,
): Promise<{ rows: ColumnBatch; ids: BigInt64Array }> {
  const fields = schema?.fields ?? [];
  const place = fields.findIndex((field) => field.primaryKey && field.autoId);
  const field = fields[place];
  if (!field) return { rows: batch, ids: new BigInt64Array(0) };
  const bytes = new TextEncoder().encode(key);
  const ids = await takeIdsByPlace(context.ids, {
    count: batch.rows,
    shards: vchannels.length,
    // Calls begin at different shards, so that calls with few rows do not all meet in one.
    firstShard: crc32(bytes, 0, bytes.length),
    signal,
  });
  const columns = batch.columns.toSpliced(place, 0, int64Column(field.name, ids));
  return { rows: create(ColumnBatchSchema, { rows: batch.rows, columns }), ids };
}

/** The messages of each vchannel: one partition, cut by size. */
function placeRows(
  { limits }: ProxyContext,
  collection: Collection,
  partitionName: string,
  batch: ColumnBatch,
): VchannelWrite[] {
  const { schema, vchannels } = collection;
  if (!schema) return [];
  const partition = partitionOf(collection, partitionName || defaultPartition);
  const keyName = primaryKeyOf(schema).name;
  const keys = batch.columns.find((column) => column.name === keyName);
  if (!keys) throw new MillraceError("INNER", "checked rows have no primary key");
  return placeByKey(batch, keys, {
    vchannels,
    messageBytes: limits.messageBytes,
    type: MessageType.INSERT,
    headerOf: (rows) =>
      toBinary(
        InsertHeaderSchema,
        create(InsertHeaderSchema, {
          collectionId: collection.id,
          partitionId: partition.id,
          rows,
          schemaVersion: schema.version,
        }),
      ),
  });
}

function invalid(field: string, problem: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
}
