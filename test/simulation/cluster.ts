/**
 * Coordinators, nodes and a proxy in one process, on a clock that moves when it is told to.
 *
 * @module
 */

import { createClient, type Transport } from "@connectrpc/connect";
import { type Coord, createCoord } from "@millrace/coord";
import { createNode, type StreamingNode } from "@millrace/node";
import { createProxy, type MillraceProxy } from "@millrace/proxy";
import { createActiveTransport, createLocalTransport, type TransportFor } from "@millrace/rpc";
import { createMemoryObjectStore, createObjectMetaStore } from "@millrace/storage";
import { MillraceError, silentLogger } from "@millrace/types";
import { AllocatorService, ManagerService, ProxyService } from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { createMemoryBackend, type StoredMessage } from "@millrace/wal";
import { createHost, type Host } from "./host.ts";

/** A coordinator of a simulation. */
export interface SimulatedCoord {
  host: Host;
  coord: Coord;
  transport: Transport;
}

/** An Assign that a node has answered with success. */
export interface Obeyed {
  pchannel: string;
  term: bigint;
  node: string;
}

/** Options of {@linkcode createSimulation}. */
export interface SimulationOptions {
  seed: number;
  coordinators: number;
  nodes: number;
}

const pchannels = 4;
const stepMs = 20;

/** Creates a cluster; nothing of it runs before `start`. */
export function createSimulation({ seed, coordinators, nodes }: SimulationOptions) {
  const clock = createVirtualClock();
  const random = createSeededRandom(seed);
  const shared = { random, logger: silentLogger };
  const metadata = createMemoryObjectStore();
  const store = createMemoryObjectStore();
  const backend = createMemoryBackend();
  const reachable = new Map<string, Transport>();
  const coords: SimulatedCoord[] = [];
  const running: StreamingNode[] = [];
  const obeyed: Obeyed[] = [];
  const addresses = Array.from({ length: coordinators }, (_, index) => `http://coord-${index}`);

  const transportFor: TransportFor = (address) => {
    const transport = reachable.get(address);
    if (transport) return transport;
    throw new MillraceError("UNAVAILABLE", `nobody listens at ${address}`);
  };

  /** Starts a coordinator in a process of its own, in place of the one that was there. */
  const startCoord = (index: number): SimulatedCoord => {
    const host = createHost(clock, random);
    const coord = createCoord({
      meta: createObjectMetaStore(host.using(metadata), {
        ...{ prefix: "meta", clock: host.clock, random },
      }),
      transportFor: (address) => host.calling(transportFor(address)),
      address: addresses[index] ?? "",
      pchannels,
      clock: host.clock,
      ...shared,
    });
    const transport = host.reachedBy(createLocalTransport(coord.routes));
    reachable.set(addresses[index] ?? "", transport);
    const started = { host, coord, transport };
    coords[index] = started;
    // It goes on until it is closed or its process ends.
    coord.start().catch(() => undefined);
    return started;
  };

  const startNode = (index: number): StreamingNode => {
    const address = `http://node-${index}`;
    const node = createNode({
      ...{ nodeId: `node-${index}`, address, backend, store, clock, ...shared },
      coord: createActiveTransport({ addresses, transportFor, clock }),
      drainMs: 0,
    });
    reachable.set(address, noting(createLocalTransport(node.routes), `node-${index}`, obeyed));
    running[index] = node;
    return node;
  };

  const proxy: MillraceProxy = createProxy({
    ...{
      coord: createActiveTransport({ addresses, transportFor, clock }),
      transportFor,
      clock,
      ...shared,
    },
  });

  const turns = async (): Promise<void> => {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  const advance = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= stepMs) {
      await turns();
      await clock.advance(Math.min(left, stepMs));
    }
    await turns();
  };
  /** Lets time go on until it is so; fails after so much of it. */
  const until = async (what: string, so: () => boolean, limitMs = 60_000): Promise<number> => {
    for (let ms = 0; ms <= limitMs; ms += stepMs) {
      if (so()) return ms;
      await turns();
      await clock.advance(stepMs);
    }
    throw new Error(`seed ${seed}: not within ${limitMs} ms: ${what}`);
  };
  /** The result of a promise that needs time to go on. */
  const settle = async <T>(promise: Promise<T>, limitMs?: number): Promise<T> => {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    await until("a call", () => settled, limitMs);
    return promise;
  };

  return {
    clock,
    random,
    coords,
    obeyed,
    client: createClient(ProxyService, createLocalTransport(proxy.routes)),
    startCoord,
    startNode,
    advance,
    until,
    settle,
    /** The allocator of one coordinator, whether it leads or not. */
    allocatorOf: (index: number) =>
      createClient(AllocatorService, transportFor(addresses[index] ?? "")),
    async start() {
      for (let index = 0; index < coordinators; index++) startCoord(index);
      const starting = Array.from({ length: nodes }, (_, index) => startNode(index).start());
      await settle(Promise.all([...starting, proxy.start()]));
    },
    /** The messages of all logs, by pchannel, in their order. */
    async logs(): Promise<Map<string, StoredMessage[]>> {
      const logs = new Map<string, StoredMessage[]>();
      for (const { pchannel } of obeyed) {
        if (logs.has(pchannel)) continue;
        const reader = await backend.openReadOnly(pchannel);
        const messages: StoredMessage[] = [];
        for await (const batch of reader.read(reader.bounds().first)) {
          messages.push(...batch.messages());
        }
        logs.set(pchannel, messages);
      }
      return logs;
    },
    async close() {
      await settle(proxy.close());
      await settle(Promise.all(running.map((node) => node.close())));
      const closing = coords.map(async ({ host, coord }) => {
        host.resume();
        if (host.state === "running") await coord.close();
      });
      await settle(Promise.all(closing));
    },
  };
}

/** A cluster of a simulation. */
export type Simulation = ReturnType<typeof createSimulation>;

/** Notes each Assign that succeeds. */
function noting(transport: Transport, node: string, obeyed: Obeyed[]): Transport {
  return {
    async unary(method, signal, timeoutMs, header, input, ...rest) {
      const response = await transport.unary(method, signal, timeoutMs, header, input, ...rest);
      if (method === (ManagerService.method.assign as unknown)) {
        const { pchannel } = input as { pchannel?: { name: string; term: bigint } };
        if (pchannel) obeyed.push({ pchannel: pchannel.name, term: pchannel.term, node });
      }
      return response;
    },
    stream: (...call) => transport.stream(...call),
  };
}
