/**
 * Delete: primary keys whose rows are to go, recorded in the logs.
 *
 * @module
 */

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { Value } from "@bufbuild/protobuf/wkt";
import { type JsonRow, MillraceError, primaryKeyOf, rowsToColumns } from "@millrace/types";
import {
  type Collection,
  type CollectionSchema,
  CollectionSchemaSchema,
  type ColumnBatch,
  DeleteHeaderSchema,
  type DeleteRequest,
  type DeleteResponse,
  DeleteResponseSchema,
  MessageType,
} from "@millrace/types/gen";
import { idempotencyKey, type ProxyContext, partitionOf, withCollection } from "./context.ts";
import { placeByKey } from "./place.ts";
import { largestTick, type VchannelWrite, write } from "./write.ts";

/** Records the keys of a call; see ProxyService.Delete. */
export async function deleteKeys(
  context: ProxyContext,
  request: DeleteRequest,
  signal: AbortSignal,
): Promise<DeleteResponse> {
  const key = idempotencyKey("delete", request.idempotencyKey, context.random);
  const { keys } = request;
  const { maxDeleteKeys } = context.limits;
  if (keys.length === 0 || keys.length > maxDeleteKeys) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `keys has ${keys.length} keys; give 1 to ${maxDeleteKeys}`,
      { field: "keys" },
    );
  }
  return withCollection(context, request.collection, signal, async (collection) => {
    const batch = readKeys(collection.schema, keys);
    const writes = placeKeys(context, collection, request.partition, batch);
    const answers = await write(context, writes, { key, signal });
    return create(DeleteResponseSchema, {
      keys: batch.rows,
      tick: largestTick(answers),
      // Under a key of the call's own, a duplicate is what an earlier try of this call had written.
      duplicate: request.idempotencyKey !== "" && answers.every(({ duplicate }) => duplicate),
    });
  });
}

/** The keys as the one column that the primary key has, checked as the key of a row is. */
function readKeys(schema: CollectionSchema | undefined, keys: readonly Value[]): ColumnBatch {
  if (!schema) throw new MillraceError("INNER", "the catalog holds a collection without a schema");
  const field = primaryKeyOf(schema);
  const keySchema: MessageInitShape<typeof CollectionSchemaSchema> = {
    fields: [{ ...field, autoId: false }],
    version: schema.version,
  };
  const rows = keys.map(({ kind }, index): JsonRow => {
    if (kind.case === "numberValue" || kind.case === "stringValue") {
      return { [field.name]: kind.value };
    }
    const path = `keys[${index}]`;
    throw new MillraceError("INVALID_ARGUMENT", `${path} is neither a number nor a string`, {
      field: path,
    });
  });
  return rowsToColumns(create(CollectionSchemaSchema, keySchema), rows, { path: "keys" });
}

function placeKeys(
  { limits }: ProxyContext,
  collection: Collection,
  partition: string,
  batch: ColumnBatch,
): VchannelWrite[] {
  const { vchannels } = collection;
  const partitionId = partition === "" ? 0n : partitionOf(collection, partition).id;
  const [keys] = batch.columns;
  if (!keys) return [];
  return placeByKey(batch, keys, {
    vchannels,
    messageBytes: limits.messageBytes,
    type: MessageType.DELETE,
    headerOf: (rows) =>
      toBinary(
        DeleteHeaderSchema,
        create(DeleteHeaderSchema, { collectionId: collection.id, partitionId, rows }),
      ),
  });
}
