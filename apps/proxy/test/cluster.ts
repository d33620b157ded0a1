import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Client, type ConnectRouter, createClient } from "@connectrpc/connect";
import { createProxy, type MillraceProxy, type ProxyLimits } from "@millrace/proxy";
import { createLocalTransport } from "@millrace/rpc";
import {
  addFields,
  MillraceError,
  pchannelName,
  pchannelOf,
  silentLogger,
  type TickSource,
  vchannelName,
} from "@millrace/types";
import {
  AlterCollectionHeaderSchema,
  AllocatorService,
  AssignmentService,
  CatalogService,
  type Collection,
  CollectionSchema$ as CollectionMessage,
  CreateCollectionHeaderSchema,
  type DiscoverResponseSchema,
  DropCollectionHeaderSchema,
  MessageType,
  PartitionHeaderSchema,
  PartitionSchema,
  ProxyService,
  type ReportErrorRequest,
} from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock, type VirtualClock } from "@millrace/types/testing";
import { createMemoryBackend, type StoredMessage } from "@millrace/wal";
import { createFakeNode, type FakeNode } from "./fake-node.ts";

/** Two nodes, a coordinator that does as the test says, and a proxy between them and the test. */
export interface Cluster {
  client: Client<typeof ProxyService>;
  proxy: MillraceProxy;
  clock: VirtualClock;
  nodes: [FakeNode, FakeNode];
  /** Reports that reached the coordinator. */
  reports: ReportErrorRequest[];
  /** How often the catalog was asked for a collection. */
  describes(): number;
  /** Moves a pchannel: closes it at its node, opens it at `node` with the next term. */
  move(pchannel: string, node: 0 | 1, options?: { announce?: boolean }): Promise<void>;
  /** Sends a snapshot of what is so. */
  announce(overrides?: { coordinator?: bigint; revision?: bigint; nodes?: [] }): void;
  /** Ends discovery streams as a coordinator that restarts does. */
  cutDiscovery(): void;
  /** Waits between the shards and the catalog when a collection is altered. */
  beforeAltered: () => Promise<void>;
  /** Drops a collection behind the proxy's back. */
  dropCollection(name: string): Promise<void>;
  /** Lets time go on until the condition holds. */
  until(condition: () => boolean): Promise<void>;
  /** The messages of a vchannel, as they stand in its log. */
  log(vchannel: string): Promise<StoredMessage[]>;
}

/** Options of {@linkcode startCluster}. */
export interface ClusterOptions {
  limits?: Partial<ProxyLimits>;
}

const pchannels = [0, 1, 2, 3].map((index) => pchannelName("test", index));

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const clock = createVirtualClock();
  const random = createSeededRandom(7);
  const ticks = countingTicks();
  const backend = createMemoryBackend();
  const nodes: [FakeNode, FakeNode] = [
    createFakeNode(backend, ticks, clock),
    createFakeNode(backend, ticks, clock),
  ];
  const owners = new Map<string, { node: 0 | 1; term: number }>();
  for (const [index, pchannel] of pchannels.entries()) {
    const node = (index % 2) as 0 | 1;
    owners.set(pchannel, { node, term: 1 });
    await nodes[node].open(pchannel, 1);
  }

  const collections = new Map<string, Collection>();
  const reports: ReportErrorRequest[] = [];
  const watchers = new Set<(event: Snapshot | "cut") => void>();
  let revision = 1n;
  let catalogRevision = 1n;
  let describes = 0;
  let nextId = 100n;

  const snapshot = (): Snapshot => ({
    version: { coordinator: 1n, revision },
    catalogRevision,
    nodes: [0, 1].map((node) => ({
      nodeId: `node-${node}`,
      address: `fake://${node}`,
      pchannels: Array.from(owners).flatMap(([name, owner]) =>
        owner.node === node ? [{ name, term: BigInt(owner.term) }] : [],
      ),
    })),
  });
  /** What differs from what is so until the next snapshot, also for who asks anew. */
  let announced: { nodes?: [] } = {};
  const announce: Cluster["announce"] = (overrides = {}) => {
    const { coordinator = 1n, revision: forced = ++revision, ...rest } = overrides;
    announced = rest;
    const event = { ...snapshot(), version: { coordinator, revision: forced }, ...rest };
    for (const watcher of [...watchers]) watcher(event);
  };
  const find = (name: string): Collection => {
    const collection = collections.get(name);
    if (collection) return collection;
    throw new MillraceError("COLLECTION_NOT_FOUND", `there is no collection ${name}`);
  };
  const walOf = (vchannel: string) => {
    const pchannel = pchannelOf(vchannel);
    const wal = nodes[owners.get(pchannel)?.node ?? 0].wal(pchannel);
    if (!wal) throw new Error(`${pchannel} has no owner`);
    return wal;
  };
  const changed = (): void => {
    catalogRevision++;
    announce();
  };

  const routes = (router: ConnectRouter): void => {
    router.service(AssignmentService, {
      async *discover(_request, { signal }) {
        const events: (Snapshot | "cut")[] = [{ ...snapshot(), ...announced }];
        let wake = (): void => undefined;
        const watcher = (event: Snapshot | "cut"): void => {
          events.push(event);
          wake();
        };
        watchers.add(watcher);
        signal.addEventListener("abort", () => wake(), { once: true });
        try {
          while (!signal.aborted) {
            for (const event of events.splice(0)) {
              if (event === "cut") throw new MillraceError("ON_SHUTDOWN", "restarting");
              yield event;
            }
            if (events.length > 0 || signal.aborted) continue;
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        } finally {
          watchers.delete(watcher);
        }
      },
      reportError(request) {
        reports.push(request);
        return {};
      },
    });
    router.service(CatalogService, {
      async catalogCreateCollection({ name, schema, shards }) {
        if (shards > pchannels.length) {
          throw new MillraceError("INVALID_ARGUMENT", "shards is too large", { field: "shards" });
        }
        const id = nextId++;
        const vchannels = pchannels
          .slice(0, shards)
          .map((pchannel, shard) => vchannelName(pchannel, id, shard));
        const collection = create(CollectionMessage, {
          id,
          name,
          vchannels,
          partitions: [{ id: nextId++, name: "_default" }],
          ...(schema && { schema }),
        });
        collections.set(name, collection);
        const header = toBinary(
          CreateCollectionHeaderSchema,
          create(CreateCollectionHeaderSchema, { collection }),
        );
        for (const vchannel of vchannels)
          await appendTo(vchannel, MessageType.CREATE_COLLECTION, header);
        changed();
        return { collection };
      },
      async catalogAlterCollection({ name, addFields: fields }) {
        const collection = find(name);
        if (!collection.schema) throw new Error("a collection has a schema");
        const altered = { ...collection, schema: addFields(collection.schema, fields) };
        const header = toBinary(
          AlterCollectionHeaderSchema,
          create(AlterCollectionHeaderSchema, { collection: altered }),
        );
        for (const vchannel of collection.vchannels) {
          await appendTo(vchannel, MessageType.ALTER_COLLECTION, header);
        }
        await cluster.beforeAltered();
        collections.set(name, altered);
        changed();
        return { collection: altered };
      },
      async catalogDropCollection({ name }) {
        await drop(name);
        return {};
      },
      catalogDescribeCollection({ name }) {
        describes++;
        return { collection: find(name) };
      },
      catalogListCollections: () => ({ collections: [...collections.values()] }),
      async catalogCreatePartition({ collection: name, partition }) {
        const added = create(PartitionSchema, { id: nextId++, name: partition });
        const collection = find(name);
        const header = toBinary(
          PartitionHeaderSchema,
          create(PartitionHeaderSchema, { collectionId: collection.id, partition: added }),
        );
        for (const vchannel of collection.vchannels) {
          await appendTo(vchannel, MessageType.CREATE_PARTITION, header);
        }
        collection.partitions.push(added);
        changed();
        return { partition: added };
      },
    });
    router.service(AllocatorService, {
      allocateTimestamps: async ({ count }) => ({ ...(await ticks.take(count)), leaseMs: 50 }),
      allocateIds({ count }) {
        const first = nextId;
        nextId += BigInt(count);
        return { first, count };
      },
    });
  };
  const appendTo = (vchannel: string, type: MessageType, header: Uint8Array) =>
    walOf(vchannel).append([{ type, vchannel, header, payload: new Uint8Array(0) }]);
  const drop = async (name: string): Promise<void> => {
    const { id, vchannels } = find(name);
    const header = toBinary(
      DropCollectionHeaderSchema,
      create(DropCollectionHeaderSchema, { collectionId: id }),
    );
    collections.delete(name);
    for (const vchannel of vchannels) await appendTo(vchannel, MessageType.DROP_COLLECTION, header);
  };

  const transports = nodes.map((node) => createLocalTransport(node.routes));
  const proxy = createProxy({
    coord: createLocalTransport(routes),
    transportFor(address) {
      const transport = transports[Number(address.slice("fake://".length))];
      if (!transport) throw new Error(`no node at ${address}`);
      return transport;
    },
    clock,
    random,
    logger: silentLogger,
    ...(options.limits && { limits: options.limits }),
  });
  await proxy.start();
  const transport = createLocalTransport(proxy.routes);

  const cluster: Cluster = {
    client: createClient(ProxyService, transport),
    proxy,
    clock,
    nodes,
    reports,
    describes: () => describes,
    async move(pchannel, node, { announce: announced = true } = {}) {
      const owner = owners.get(pchannel);
      if (!owner) throw new Error(`no pchannel ${pchannel}`);
      const snapshot = await nodes[owner.node].close(pchannel);
      const term = owner.term + 1;
      owners.set(pchannel, { node, term });
      await nodes[node].open(pchannel, term, snapshot);
      if (announced) announce();
    },
    announce,
    cutDiscovery() {
      for (const watcher of [...watchers]) watcher("cut");
    },
    dropCollection: drop,
    async until(condition) {
      for (let step = 0; step < 2000 && !condition(); step++) await clock.advance(10);
      if (!condition()) throw new Error("the condition was not reached");
    },
    async log(vchannel) {
      const messages: StoredMessage[] = [];
      const wal = walOf(vchannel);
      const end = wal.bounds().next;
      const done = new AbortController();
      for await (const batch of wal.scan({ from: "earliest", signal: done.signal })) {
        for (const message of batch.messages()) {
          if (message.vchannel === vchannel) messages.push(message);
        }
        if (batch.sequence + 1 >= end) break;
      }
      done.abort();
      return messages;
    },
    beforeAltered: async () => undefined,
  };
  return cluster;
}

type Snapshot = Exclude<
  MessageInitShape<typeof DiscoverResponseSchema>,
  { $typeName: "millrace.v1.DiscoverResponse" }
>;

/** Ticks that grow by one. */
function countingTicks(): TickSource {
  let next = 1000n;
  return {
    take(count, after = 0n) {
      if (after >= next) next = after + 1n;
      const first = next;
      next += BigInt(count);
      return { first, count };
    },
  };
}
