/**
 * Collections and partitions: checked here, kept by the coordinator.
 *
 * @module
 */

import type { ServiceImpl } from "@connectrpc/connect";
import { checkName, checkSchema, MillraceError } from "@millrace/types";
import type { ProxyService } from "@millrace/types/gen";
import type { ProxyContext } from "./context.ts";
import { retryUnavailable } from "./retry.ts";

type Ddl = Pick<
  ServiceImpl<typeof ProxyService>,
  | "createCollection"
  | "dropCollection"
  | "describeCollection"
  | "listCollections"
  | "alterCollection"
  | "truncateCollection"
  | "createPartition"
  | "dropPartition"
>;

/** The calls of ProxyService that concern collections and partitions, once the proxy has started. */
export function createDdl(started: () => ProxyContext): Ddl {
  return {
    async createCollection({ name, schema, shards }, { signal }) {
      checkName(name, "name");
      if (!schema) {
        throw new MillraceError(
          "INVALID_ARGUMENT",
          "schema is missing; say which fields rows have",
          {
            field: "schema",
          },
        );
      }
      const { catalog, collections } = started();
      const request = { name, schema: checkSchema(schema), shards: shards || 1 };
      const { collection } = await catalog.catalogCreateCollection(request, { signal });
      collections.drop(name);
      return collection ? { collection } : {};
    },
    async dropCollection({ name }, { signal }) {
      checkName(name, "name");
      const { catalog, collections } = started();
      await catalog.catalogDropCollection({ name }, { signal });
      collections.drop(name);
      return {};
    },
    async describeCollection({ name }, { signal }) {
      checkName(name, "name");
      return { collection: await started().collections.refresh(name, signal) };
    },
    async listCollections(_request, { signal }) {
      const { catalog, clock, random, limits } = started();
      const answer = await retryUnavailable(() => catalog.catalogListCollections({}, { signal }), {
        clock,
        random,
        timeoutMs: limits.ownerTimeoutMs,
        signal,
      });
      return { collections: answer.collections };
    },
    async alterCollection({ name, addFields }, { signal }) {
      checkName(name, "name");
      const { catalog, collections } = started();
      const answer = await catalog.catalogAlterCollection({ name, addFields }, { signal });
      collections.drop(name);
      return answer.collection ? { collection: answer.collection } : {};
    },
    async truncateCollection({ name, idempotencyKey }, { signal }) {
      checkName(name, "name");
      await started().catalog.catalogTruncateCollection({ name, idempotencyKey }, { signal });
      return {};
    },
    async createPartition({ collection, partition }, { signal }) {
      checkName(collection, "collection");
      checkName(partition, "partition");
      const { catalog, collections } = started();
      const answer = await catalog.catalogCreatePartition({ collection, partition }, { signal });
      collections.drop(collection);
      return answer.partition ? { partition: answer.partition } : {};
    },
    async dropPartition({ collection, partition }, { signal }) {
      checkName(collection, "collection");
      checkName(partition, "partition");
      const { catalog, collections } = started();
      await catalog.catalogDropPartition({ collection, partition }, { signal });
      collections.drop(collection);
      return {};
    },
  };
}
