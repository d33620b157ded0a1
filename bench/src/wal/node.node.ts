/**
 * A streaming node that listens, with a coordinator that only hands out ticks.
 *
 * @module
 */

import { request as httpRequest, Agent } from "node:http";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { createNode } from "@millrace/node";
import { createLocalTransport } from "@millrace/rpc";
import { listen } from "@millrace/rpc/node";
import { createMemoryMetaStore, createMemoryObjectStore } from "@millrace/storage";
import { checkSchema, rowsToColumns, silentLogger } from "@millrace/types";
import {
  AllocatorService,
  AppendRequestSchema,
  AssignmentService,
  type Collection,
  CollectionSchema$ as CollectionMessage,
  CollectionSchemaSchema,
  ColumnBatchSchema,
  CreateCollectionHeaderSchema,
  DataType,
  HandlerService,
  InsertHeaderSchema,
  ManagerService,
  MembershipService,
  MessageType,
} from "@millrace/types/gen";
import { systemClock, systemRandom } from "@millrace/types/node";
import { createBackend } from "./millrace.node.ts";

/** A node with one pchannel and one collection. */
export interface MeasuredNode {
  /** Appends one row over HTTP/1.1, on a connection that stays open, and resolves when it is durable. */
  append(): Promise<void>;
  close(): Promise<void>;
}

const pchannel = { name: "bench", term: 1n };
const vchannel = "bench_1v0";
const clock = systemClock;

/** Starts a node whose log is in a folder; its rows have about `recordBytes` bytes. */
export async function startNode(dir: string, recordBytes: number): Promise<MeasuredNode> {
  const node = createNode({
    nodeId: "bench",
    address: "http://127.0.0.1",
    coord: createTickingCoord(),
    backend: createBackend(dir),
    store: createMemoryObjectStore(),
    meta: createMemoryMetaStore({ clock }),
    drainMs: 0,
    clock,
    random: systemRandom,
    logger: silentLogger,
  });
  const listener = await listen({ routes: node.routes, host: "127.0.0.1", port: 0 });
  await node.start();
  const local = createLocalTransport(node.routes);
  await createClient(ManagerService, local).assign({ pchannel });
  const collection = createCollection();
  const header = create(CreateCollectionHeaderSchema, { collection });
  await createClient(HandlerService, local).append({
    pchannel,
    messages: [
      {
        type: MessageType.CREATE_COLLECTION,
        vchannel,
        header: toBinary(CreateCollectionHeaderSchema, header),
      },
    ],
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const body = createInsert(collection, recordBytes);
  return {
    append: () => post(`${listener.url}/millrace.v1.HandlerService/Append`, agent, body),
    async close() {
      await node.close();
      await listener.close();
      agent.destroy();
    },
  };
}

function createTickingCoord(): Transport {
  let next = 0n;
  return createLocalTransport((router) => {
    router.service(AllocatorService, {
      allocateTimestamps({ count }) {
        const now = BigInt(clock.now()) << 18n;
        const first = now > next ? now : next;
        next = first + BigInt(count);
        return { first, count, leaseMs: 50 };
      },
    });
    router.service(MembershipService, { heartbeat: () => ({ leaseMs: 3000 }) });
    router.service(AssignmentService, { reportError: () => ({}) });
  });
}

function createCollection(): Collection {
  return create(CollectionMessage, {
    id: 1n,
    name: "bench",
    schema: checkSchema(
      create(CollectionSchemaSchema, {
        fields: [
          { name: "id", type: DataType.INT64, primaryKey: true },
          { name: "text", type: DataType.VARCHAR },
        ],
      }),
    ),
    partitions: [{ id: 1n, name: "_default" }],
    vchannels: [vchannel],
    tablePath: "tables/bench",
  });
}

function createInsert({ id, schema }: Collection, recordBytes: number): Uint8Array {
  if (!schema) throw new Error("the collection has a schema");
  const rows = rowsToColumns(schema, [{ id: 1, text: "x".repeat(recordBytes) }], {});
  const header = create(InsertHeaderSchema, { collectionId: id, partitionId: 1n, rows: 1 });
  const message = {
    type: MessageType.INSERT,
    vchannel,
    header: toBinary(InsertHeaderSchema, header),
    payload: toBinary(ColumnBatchSchema, rows),
  };
  return toBinary(
    AppendRequestSchema,
    create(AppendRequestSchema, { pchannel, messages: [message] }),
  );
}

function post(url: string, agent: Agent, body: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/proto", "content-length": body.length };
    const sent = httpRequest(url, { method: "POST", agent, headers }, (response) => {
      response.resume();
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`the node answered ${response.statusCode}`));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
