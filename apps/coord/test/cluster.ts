import { create } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { createLocalTransport, type Routes } from "@millrace/rpc";
import { createMemoryMetaStore, type MetaStore } from "@millrace/storage";
import { isControlChannel, MillraceError, tickFromMs } from "@millrace/types";
import {
  AdminService,
  AllocatorService,
  AssignmentService,
  BroadcastService,
  CatalogService,
  CollectionSchemaSchema,
  DataType,
  HandlerService,
  ManagerService,
  MembershipService,
  type Message,
} from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { type Coord, type CoordOptions, createCoord } from "../src/mod.ts";

/** A node that keeps what it is assigned and writes into logs that all nodes share. */
export interface FakeNode {
  id: string;
  incarnation: string;
  address: string;
  /** Term by pchannel. */
  held: Map<string, number>;
  draining: boolean;
  /** The coordinator's last answer. */
  drained: boolean;
  /** How far its flusher is behind, in milliseconds. */
  lagMs: number;
  /** No heartbeats, and no answers to calls. */
  dead: boolean;
  /** Up to which tick tables have what it holds. */
  flushed: bigint;
  /** Called before each append; throws to fail it. */
  beforeAppend: (vchannel: string) => void;
  /** Called after each append; throws to lose its answer. */
  afterAppend: (vchannel: string) => void;
}

/** A MetaStore of which one coordinator's view can be cut off, as by kill -9. */
export interface SeverableMeta extends MetaStore {
  /** All calls fail once so many more writes were applied. */
  severAfter(writes: number): void;
  writes: number;
}

function severable(meta: MetaStore): SeverableMeta {
  let left = Number.POSITIVE_INFINITY;
  const check = (): void => {
    if (left <= 0) throw new MillraceError("UNAVAILABLE", "this process is dead");
  };
  const write = async <T>(call: () => Promise<T>): Promise<T> => {
    check();
    left -= 1;
    view.writes += 1;
    const result = await call();
    check();
    return result;
  };
  const view: SeverableMeta = {
    name: meta.name,
    writes: 0,
    severAfter(writes) {
      left = writes;
    },
    async get(...args) {
      check();
      return meta.get(...args);
    },
    async list(...args) {
      check();
      return meta.list(...args);
    },
    put: (...args) => write(() => meta.put(...args)),
    delete: (...args) => write(() => meta.delete(...args)),
    watch: (...args) => meta.watch(...args),
    lease: (...args) => meta.lease(...args),
    close: () => meta.close(),
  };
  return view;
}

/** A coordinator with the clients that call it. */
export interface RunningCoord extends Coord {
  meta: SeverableMeta;
  transport: Transport;
  catalog: ReturnType<typeof createClient<typeof CatalogService>>;
  allocator: ReturnType<typeof createClient<typeof AllocatorService>>;
  assignment: ReturnType<typeof createClient<typeof AssignmentService>>;
  membership: ReturnType<typeof createClient<typeof MembershipService>>;
  admin: ReturnType<typeof createClient<typeof AdminService>>;
  broadcast: ReturnType<typeof createClient<typeof BroadcastService>>;
  /** Ends it as kill -9 does: nothing of it reaches the store any more. */
  crash(): Promise<void>;
}

const heartbeatMs = 1000;

/** A cluster in one process on a virtual clock. */
export function createCluster(seed = 1) {
  const clock = createVirtualClock();
  const random = createSeededRandom(seed);
  const meta = createMemoryMetaStore({ clock });
  const nodes = new Map<string, FakeNode>();
  const transports = new Map<string, Transport>();
  /** What stands in each vchannel. */
  const logs = new Map<string, Message[]>();
  /** What stands in the control channel. */
  const control: Message[] = [];
  const keys = new Set<string>();
  let current: RunningCoord | undefined;
  let runs = 0;

  const transportFor = (address: string): Transport => {
    const transport = transports.get(address);
    if (transport) return transport;
    throw new MillraceError("UNAVAILABLE", `nobody listens at ${address}`);
  };

  const turns = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  const advance = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 50) {
      await turns();
      await clock.advance(Math.min(left, 50));
    }
    await turns();
  };
  /** Lets time go on until it is so; fails after a minute of virtual time. */
  const until = async (what: string, so: () => boolean): Promise<void> => {
    for (let ms = 0; ms < 60_000; ms += 10) {
      await turns();
      if (so()) return;
      await clock.advance(10);
    }
    throw new Error(`not within a minute: ${what}`);
  };
  /** The result of a promise that needs time to go on. */
  const settle = async <T>(promise: Promise<T>): Promise<T> => {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    await until("a call", () => settled);
    return promise;
  };

  const startCoord = async (options: Partial<CoordOptions> = {}): Promise<RunningCoord> => {
    const view = severable(meta);
    const coord = createCoord({
      meta: view,
      transportFor,
      pchannels: 4,
      exclusive: true,
      clock,
      random,
      ...options,
    });
    const transport = createLocalTransport(coord.routes);
    const running: RunningCoord = {
      ...coord,
      meta: view,
      transport,
      catalog: createClient(CatalogService, transport),
      allocator: createClient(AllocatorService, transport),
      assignment: createClient(AssignmentService, transport),
      membership: createClient(MembershipService, transport),
      admin: createClient(AdminService, transport),
      broadcast: createClient(BroadcastService, transport),
      async crash() {
        view.severAfter(0);
        await settle(coord.close());
      },
    };
    await settle(coord.start());
    current = running;
    return running;
  };

  const beat = async (node: FakeNode): Promise<void> => {
    const { id: nodeId, incarnation, address, draining } = node;
    try {
      const request = { nodeId, incarnation, address, draining };
      const answer = await current?.membership.heartbeat(request);
      node.drained = answer?.drained ?? false;
    } catch (error) {
      if (!MillraceError.is(error)) throw error;
    }
  };
  const keepBeating = (node: FakeNode): void => {
    if (node.dead) return;
    void beat(node);
    clock.schedule(heartbeatMs, () => keepBeating(node));
  };

  const startNode = (id: string): FakeNode => {
    runs += 1;
    const node: FakeNode = {
      id,
      incarnation: `run-${runs}`,
      address: `http://${id}.test:1`,
      held: new Map(),
      draining: false,
      drained: false,
      lagMs: 0,
      dead: false,
      flushed: 0n,
      beforeAppend: () => undefined,
      afterAppend: () => undefined,
    };
    nodes.set(id, node);
    transports.set(node.address, createLocalTransport(nodeRoutes(node, logs, control, keys)));
    keepBeating(node);
    return node;
  };

  return {
    clock,
    random,
    meta,
    nodes,
    logs,
    control,
    advance,
    until,
    settle,
    startCoord,
    startNode,
    /** All pchannels have an owner. */
    assigned: () =>
      until("all pchannels assigned", () => {
        const alive = [...nodes.values()].filter((node) => !node.dead);
        return alive.reduce((sum, node) => sum + node.held.size, 0) === 4;
      }),
  };
}

function nodeRoutes(
  node: FakeNode,
  logs: Map<string, Message[]>,
  control: Message[],
  keys: Set<string>,
): Routes {
  const alive = (): void => {
    if (node.dead) throw new MillraceError("UNAVAILABLE", "connection refused");
  };
  return (router) => {
    router.service(ManagerService, {
      assign({ pchannel }) {
        alive();
        node.held.set(pchannel?.name ?? "", Number(pchannel?.term));
        return {};
      },
      remove({ pchannel }) {
        alive();
        node.held.delete(pchannel?.name ?? "");
        return {};
      },
      collectStatus() {
        alive();
        const lastTick = tickFromMs(1_700_000_000_000);
        const readTick = tickFromMs(1_700_000_000_000 - node.lagMs);
        const wals = [...node.held].map(([name, term]) => ({
          ...{ name, term: BigInt(term), lastTick, readTick },
        }));
        return { wals };
      },
    });
    router.service(HandlerService, {
      append({ pchannel, messages, idempotencyKey }) {
        alive();
        const term = node.held.get(pchannel?.name ?? "");
        if (term === undefined || BigInt(term) !== pchannel?.term) {
          throw new MillraceError("UNMATCHED_CHANNEL_TERM", "not the owner");
        }
        for (const message of messages) {
          const { vchannel } = message;
          node.beforeAppend(vchannel);
          if (!keys.has(`${vchannel} ${idempotencyKey}`)) {
            keys.add(`${vchannel} ${idempotencyKey}`);
            if (isControlChannel(vchannel)) control.push(message);
            else logs.set(vchannel, [...(logs.get(vchannel) ?? []), message]);
          }
          node.afterAppend(vchannel);
        }
        return { firstTick: BigInt(keys.size) };
      },
      getFlushCheckpoints({ vchannels }) {
        alive();
        return { checkpoints: vchannels.map((vchannel) => ({ vchannel, tick: node.flushed })) };
      },
    });
  };
}

/** A schema of a key and one more field. */
export function schemaOf(field = "price") {
  return create(CollectionSchemaSchema, {
    fields: [
      { name: "id", type: DataType.INT64, primaryKey: true },
      { name: field, type: DataType.DOUBLE },
    ],
  });
}

/** The broadcasts that are under way at a coordinator. */
export async function underWay(coord: RunningCoord) {
  return (await coord.admin.getClusterStatus({})).broadcasts;
}
