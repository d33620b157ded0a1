/**
 * The loop that keeps every pchannel owned: it asks the policy where pchannels should be, and moves
 * them there one step at a time, each step saved before it is taken.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import {
  backoffDelay,
  type Clock,
  type Logger,
  MillraceError,
  type Random,
  silentLogger,
} from "@millrace/types";
import {
  markUnavailable,
  mayHold,
  type Owner,
  type PchannelRecord,
  uninitialized,
} from "./channel-state.ts";
import type { BalancePolicy, Layout } from "./layout.ts";
import {
  type BalancerNode,
  createMover,
  isSameRun,
  type NodeCalls,
  type SavedRecord,
} from "./mover.ts";
import { createNodeHealth } from "./node-health.ts";

/** Options of {@linkcode createBalancer}. */
export interface BalancerOptions {
  /** Where the state of pchannels is kept. */
  meta: MetaStore;
  /** Key prefix of that state. Default `coord/pchannels/`. */
  prefix?: string;
  /** The names of all pchannels, in a fixed order. */
  pchannels: readonly string[];
  policy: BalancePolicy;
  /** The nodes that are alive now. Call {@linkcode Balancer.trigger} when they change. */
  nodes: () => readonly BalancerNode[];
  calls: NodeCalls;
  /** The collection of each vchannel, by pchannel. Default: none. */
  collections?: () => ReadonlyMap<string, readonly string[]>;
  /** Called after each change of {@linkcode Balancer.records}. Must not throw. */
  onChange?: () => void;
  clock: Clock;
  random: Random;
  /** Default: silent. */
  logger?: Logger;
  /**
   * How long one Assign or Remove may take, in milliseconds. Default 300000: a limit below what a
   * recovery takes would move pchannels around for ever.
   */
  operationTimeoutMs?: number;
  /** How often placement is looked at when nothing happens, in milliseconds. Default 60000. */
  intervalMs?: number;
}

/** Moves pchannels between nodes. */
export interface Balancer {
  /** Loads the saved states. */
  load(): Promise<void>;
  /** Begins to move pchannels. Call it once, when `nodes` answers for the owners that were loaded. */
  start(): void;
  /** The saved state of each pchannel, in the given order. */
  records(): readonly PchannelRecord[];
  /** Looks at placement now; retries that wait for their time are made at once. */
  trigger(): void;
  /** The owner at `term` does not serve the pchannel. Ignored if that is not its present term. */
  markUnavailable(pchannel: string, term: number): Promise<void>;
  /** `true` if a run of a node owns any pchannel or may still hold one. */
  holds(nodeId: string, incarnation: string): boolean;
  /** Ends all calls and waits for them. */
  close(): Promise<void>;
}

interface Channel extends SavedRecord {
  /** An operation is under way. */
  busy: boolean;
  /** The node that operation takes it to, or leaves it at. */
  target: Owner | undefined;
  /** Failed attempts in a row. */
  failures: number;
  /** Not to be tried before this monotonic time. */
  notBefore: number;
  cancelRetry: () => void;
}

const nothing = (): void => undefined;

/**
 * Creates a balancer. It works on every pchannel by itself, one operation at a time each, so that one
 * slow node does not hold up the others:
 *
 * 1. save the next state (a new term) under the revision of the last one;
 * 2. Remove on every former owner; a dead one counts as removed;
 * 3. Assign; 4. save that it is assigned.
 *
 * What fails is tried again at a new term after 10 ms to 5 s, at once when nodes change. A crash
 * between any two steps is repaired by the next balancer on the same metadata.
 */
export function createBalancer(options: BalancerOptions): Balancer {
  const { meta, policy, calls, nodes, clock, random, logger = silentLogger } = options;
  const { prefix = "coord/pchannels/", onChange = nothing } = options;
  const { operationTimeoutMs = 300_000, intervalMs = 60_000 } = options;
  const collections = options.collections ?? (() => new Map<string, readonly string[]>());

  const closing = new AbortController();
  const { signal } = closing;
  const health = createNodeHealth(clock, random);
  const mover = createMover({
    meta,
    prefix,
    calls,
    health,
    nodes,
    onChange,
    clock,
    operationTimeoutMs,
    signal,
  });
  const channels = new Map(options.pchannels.map((name) => [name, newChannel(name)]));
  const running = new Set<Promise<void>>();
  let started = false;
  let cancelInterval = nothing;

  const retryLater = (channel: Channel): void => {
    const wait = backoffDelay(channel.failures, random);
    channel.failures += 1;
    channel.notBefore = clock.monotonic() + wait;
    channel.cancelRetry = clock.schedule(wait, plan);
  };

  const operate = async (channel: Channel, target: BalancerNode | undefined): Promise<void> => {
    channel.busy = true;
    channel.target = target;
    try {
      await mover.move(channel, target);
      channel.failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      const { name: pchannel, term } = channel.record;
      const node = target?.nodeId;
      logger.warn("a pchannel could not be moved", { pchannel, term, node, error });
      if (target?.gone.aborted) channel.failures = 0;
      else retryLater(channel);
    } finally {
      channel.busy = false;
      channel.target = undefined;
    }
    plan();
  };

  const begin = (channel: Channel, target: BalancerNode | undefined): void => {
    channel.cancelRetry();
    const operation = operate(channel, target);
    running.add(operation);
    void operation.finally(() => running.delete(operation));
  };

  /** Those that may be given pchannels; failing ones only if there are no others. */
  const takers = (living: readonly BalancerNode[]): BalancerNode[] => {
    const accepting = living.filter((node) => health.accepts(node.incarnation));
    return accepting.length > 0 ? accepting : [...living];
  };

  const layoutOf = (living: readonly BalancerNode[]): Layout => {
    const loads = collections();
    const now = clock.monotonic();
    const accepting = takers(living).map((node) => node.nodeId);
    const pchannels = [...channels.values()].map((channel) => {
      const { name, state, owner } = channel.record;
      const at = channel.busy ? channel.target : state === "assigned" ? owner : undefined;
      const node = at && living.find((other) => isSameRun(other, at))?.nodeId;
      const settled = node !== undefined && !accepting.includes(node);
      return {
        name,
        node,
        pinned: channel.busy || channel.notBefore > now || settled,
        collections: loads.get(name) ?? [],
      };
    });
    return { nodes: accepting, pchannels };
  };

  /** Nobody can take over: what leaving or dead nodes have is taken from them. */
  const releaseAll = (): void => {
    const now = clock.monotonic();
    for (const channel of channels.values()) {
      const { owner, former } = channel.record;
      if (channel.busy || channel.notBefore > now) continue;
      if (owner !== undefined || former.length > 0) begin(channel, undefined);
    }
  };

  const plan = (): void => {
    if (!started || signal.aborted) return;
    const living = nodes().filter((node) => !node.draining);
    if (living.length === 0) {
      releaseAll();
      return;
    }
    for (const { pchannel, to } of policy.plan(layoutOf(living))) {
      const channel = channels.get(pchannel);
      const target = living.find((node) => node.nodeId === to);
      if (channel && target && !channel.busy) begin(channel, target);
    }
  };

  const everyInterval = (): void => {
    cancelInterval = clock.schedule(intervalMs, everyInterval);
    plan();
  };

  return {
    async load() {
      await Promise.all([...channels.values()].map(mover.load));
    },
    start() {
      started = true;
      everyInterval();
    },
    records: () => [...channels.values()].map((channel) => channel.record),
    trigger() {
      for (const channel of channels.values()) {
        channel.notBefore = 0;
        channel.failures = 0;
      }
      plan();
    },
    async markUnavailable(pchannel, term) {
      const channel = channels.get(pchannel);
      if (channel === undefined || channel.busy) return;
      channel.busy = true;
      channel.target = channel.record.owner;
      try {
        await mover.save(channel, (record) => markUnavailable(record, term));
      } finally {
        channel.busy = false;
        channel.target = undefined;
      }
      plan();
    },
    holds: (nodeId, incarnation) =>
      [...channels.values()].some(({ record }) => mayHold(record, nodeId, incarnation)),
    async close() {
      closing.abort(new MillraceError("CANCELLED", "the balancer is closing"));
      cancelInterval();
      for (const channel of channels.values()) channel.cancelRetry();
      await Promise.all(running);
    },
  };
}

function newChannel(name: string): Channel {
  return {
    record: uninitialized(name),
    revision: null,
    stale: true,
    floor: 0,
    busy: false,
    target: undefined,
    failures: 0,
    notBefore: 0,
    cancelRetry: nothing,
  };
}
