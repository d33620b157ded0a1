import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type Listener, listen } from "@millrace/rpc/node";
import {
  addFields,
  checkSchema,
  columnsToRows,
  int64Column,
  type JsonRow,
  MillraceError,
} from "@millrace/types";
import {
  AdminService,
  type Collection,
  CollectionSchema$ as CollectionMessage,
  type CollectionSchema,
  ColumnBatchSchema,
  MessageType,
  ProxyService,
  TailFrom,
  TailMessageSchema,
  type TailPosition,
  TailPositionSchema,
  type TailResponse,
  TailResponseSchema,
} from "@millrace/types/gen";
import { onTestFinished } from "vitest";

/** A batch as the fake server took it. */
export interface TakenBatch {
  key: string;
  partition: string;
  rows: JsonRow[];
}

/** A server that keeps rows in memory, for the commands of clients. */
export interface FakeServer {
  url: string;
  collections: Map<string, Collection>;
  /** By idempotency key. */
  batches: Map<string, TakenBatch>;
  /** Names of collections that were truncated, with the keys of the calls. */
  truncated: [name: string, key: string][];
  /** Ids of nodes that are frozen. */
  frozen: Set<string>;
  /** How pchannels are placed. */
  balance: { policy: string; allowRebalance: boolean };
  /** Called before each insert; may throw. */
  onInsert: (key: string) => void | Promise<void>;
  /** Called for each poll of a flush; answers the problem, or `undefined` if it is flushed. */
  onFlushState: () => string | undefined;
  /** Called with the positions of each tail. */
  onTail: (positions: readonly TailPosition[]) => void;
  /** The stream of a tail breaks after so many messages. */
  breakTailAfter: number;
  close(): Promise<void>;
  /** Serves again at the same port. */
  reopen(): Promise<void>;
}

const vchannel = "millrace-dml_0_1v0";

/** Starts a server that is closed after the test. */
export async function startFakeServer(): Promise<FakeServer> {
  let listener: Listener | undefined;
  const fake: FakeServer = {
    url: "",
    collections: new Map(),
    batches: new Map(),
    truncated: [],
    frozen: new Set(),
    balance: { policy: "vchannel-fair", allowRebalance: true },
    onInsert: () => undefined,
    onFlushState: () => undefined,
    onTail: () => undefined,
    breakTailAfter: Number.POSITIVE_INFINITY,
    close: async () => listener?.close(0),
    async reopen() {
      const port = Number(new URL(fake.url).port);
      listener = await serve(port);
    },
  };
  const serve = (port: number): Promise<Listener> =>
    listen({
      host: "127.0.0.1",
      port,
      routes(router) {
        router.service(ProxyService, proxyOf(fake));
        router.service(AdminService, adminOf(fake));
      },
    });
  listener = await serve(0);
  fake.url = listener.url;
  onTestFinished(() => fake.close());
  return fake;
}

/** Adds a collection as `millrace collection create` would. */
export function addCollection(
  fake: FakeServer,
  name: string,
  schema: CollectionSchema,
  shards = 1,
): Collection {
  const id = BigInt(fake.collections.size + 1);
  const collection = create(CollectionMessage, {
    id,
    name,
    schema: checkSchema(schema),
    partitions: [{ id: 1n, name: "_default" }],
    vchannels: Array.from({ length: shards }, (_, shard) => `millrace-dml_${shard}_${id}v${shard}`),
    createdTick: 1_750_000_000_000n << 18n,
    tablePath: `tables/${name}-${id}`,
  });
  fake.collections.set(name, collection);
  return collection;
}

function find(fake: FakeServer, name: string): Collection {
  const collection = fake.collections.get(name);
  if (collection) return collection;
  throw new MillraceError("COLLECTION_NOT_FOUND", `there is no collection "${name}"`);
}

/** One node and one pchannel. */
function adminOf(fake: FakeServer): ServiceImpl<typeof AdminService> {
  const check = (nodeId: string): void => {
    if (nodeId === "n1") return;
    const message = `there is no living node "${nodeId}"; known: n1`;
    throw new MillraceError("INVALID_ARGUMENT", message, { field: "node_id" });
  };
  const balance = () => ({ ...fake.balance, policies: ["vchannel-fair", "pchannel-fair"] });
  return {
    getClusterStatus: () => ({
      collections: fake.collections.size,
      nodes: [
        {
          nodeId: "n1",
          address: "local:n1",
          alive: true,
          pchannels: 1,
          frozen: fake.frozen.has("n1"),
        },
      ],
      pchannels: [
        {
          name: "millrace-dml_0",
          term: 3n,
          state: "assigned",
          nodeId: "n1",
          assignedMs: 1_750_000_000_000n,
          transferred: true,
        },
      ],
      balance: balance(),
      broadcasts: [
        {
          id: 42n,
          type: MessageType.CREATE_COLLECTION,
          resourceKeys: [
            { domain: "cluster" },
            { domain: "collection", key: "a", exclusive: true },
          ],
          state: "appending",
          copies: [
            { vchannel: "millrace-dml_0_1v0", state: "appended" },
            { vchannel: "millrace-dml_1_1v1", state: "unknown", problem: "nobody owns it" },
          ],
          sinceMs: 1_750_000_000_000n,
        },
      ],
    }),
    freezeNode({ nodeId }) {
      check(nodeId);
      fake.frozen.add(nodeId);
      return {};
    },
    unfreezeNode({ nodeId }) {
      check(nodeId);
      fake.frozen.delete(nodeId);
      return {};
    },
    transferPchannel({ nodeId }) {
      check(nodeId);
      return { term: 4n };
    },
    abortBroadcast({ broadcastId, force }) {
      if (broadcastId !== 42n) {
        throw new MillraceError("NOT_FOUND", `there is no broadcast ${broadcastId}`);
      }
      if (force !== "") return {};
      throw new MillraceError("PRECONDITION_FAILED", "a shard may have it; force finish or forget");
    },
    updateBalancePolicy({ policy, allowRebalance }) {
      if (policy !== "") fake.balance.policy = policy;
      if (allowRebalance !== undefined) fake.balance.allowRebalance = allowRebalance;
      return { balance: balance() };
    },
  };
}

function proxyOf(fake: FakeServer): Partial<ServiceImpl<typeof ProxyService>> {
  return {
    createCollection({ name, schema, shards }) {
      if (!schema) throw new MillraceError("INVALID_ARGUMENT", "schema is missing");
      return { collection: addCollection(fake, name, schema, shards) };
    },
    alterCollection({ name, addFields: fields }) {
      const collection = find(fake, name);
      if (collection.schema) collection.schema = addFields(collection.schema, fields);
      return { collection };
    },
    truncateCollection({ name, idempotencyKey }) {
      find(fake, name);
      fake.truncated.push([name, idempotencyKey]);
      return {};
    },
    dropCollection({ name }) {
      find(fake, name);
      fake.collections.delete(name);
      return {};
    },
    describeCollection: ({ name }) => ({ collection: find(fake, name) }),
    listCollections: () => ({ collections: [...fake.collections.values()] }),
    async insert({ collection, partition, columns, idempotencyKey: key }) {
      find(fake, collection);
      await fake.onInsert(key);
      const duplicate = fake.batches.has(key);
      const rows = columns ? columnsToRows(columns) : [];
      if (!duplicate) fake.batches.set(key, { key, partition, rows });
      return { rows: rows.length, duplicate };
    },
    flush({ collection }) {
      find(fake, collection);
      return { positions: [{ vchannel, tick: 5n << 18n }] };
    },
    getFlushState() {
      const problem = fake.onFlushState();
      return { flushed: problem === undefined, problem: problem ?? "", checkpoints: [] };
    },
    tail: ({ from, positions }) => tail(fake, from, positions[0]),
  };
}

/** Six messages, each at the tick that is its sequence; the latest place is behind the third. */
async function* tail(
  fake: FakeServer,
  from: TailFrom,
  position: TailPosition | undefined,
): AsyncGenerator<TailResponse> {
  fake.onTail(position ? [position] : []);
  let sent = 0;
  const latest = from === TailFrom.EARLIEST ? -1n : 2n;
  const after = position?.id?.sequence ?? position?.tick ?? latest;
  const positions = after < 0n ? [] : [{ vchannel, tick: after }];
  yield create(TailResponseSchema, { event: { case: "heartbeat", value: { positions } } });
  const start = after + 1n;
  for (let sequence = start; sequence < 6n; sequence++) {
    if (sent++ >= fake.breakTailAfter) {
      throw new MillraceError("ON_SHUTDOWN", "the server is shutting down");
    }
    yield tailMessage(sequence);
  }
  throw new MillraceError("COLLECTION_NOT_FOUND", "the collection was dropped");
}

function tailMessage(sequence: bigint): TailResponse {
  const values = BigInt64Array.from([sequence * 2n, sequence * 2n + 1n]);
  const columns = create(ColumnBatchSchema, { rows: 2, columns: [int64Column("n", values)] });
  const position = create(TailPositionSchema, {
    vchannel,
    id: { sequence, index: 0 },
    tick: sequence,
  });
  const type = sequence === 5n ? MessageType.DELETE : MessageType.INSERT;
  const value = create(TailMessageSchema, { type, position, columns });
  return create(TailResponseSchema, { event: { case: "message", value } });
}
