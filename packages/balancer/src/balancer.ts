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
  beginAssign,
  beginRelease,
  decodeRecord,
  encodeRecord,
  type FormerOwner,
  finishAssign,
  finishRelease,
  markUnavailable,
  mayHold,
  type Owner,
  type PchannelRecord,
  uninitialized,
} from "./channel-state.ts";
import type { BalancePolicy, Layout } from "./layout.ts";

/** A node that is alive. */
export interface BalancerNode extends Owner {
  /** It is shutting down: its pchannels are to move away. */
  draining: boolean;
  /** Aborted when this run of the node is dead: its lease ended, or it was started again. */
  gone: AbortSignal;
}

/** How nodes are told. Calls end when the signal is aborted. */
export interface NodeCalls {
  /** Opens the pchannel at the term; resolves when it can be written. */
  assign(node: Owner, pchannel: string, term: number, signal: AbortSignal): Promise<void>;
  /** Closes the pchannel if the node holds it at this term or a lower one. */
  remove(node: Owner, pchannel: string, term: number, signal: AbortSignal): Promise<void>;
}

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

interface Channel {
  record: PchannelRecord;
  /** Of the saved record; `null`: it is not saved yet. */
  revision: string | null;
  /** A save failed, so what is saved is not known. */
  stale: boolean;
  /** Terms up to here are known to be used, from what nodes answered. */
  floor: number;
  /** The node it is going to, while it is on its way. */
  target: Owner | undefined;
  busy: boolean;
  /** Failed attempts in a row. */
  failures: number;
  /** Not to be tried before this monotonic time. */
  notBefore: number;
  cancelRetry: () => void;
}

/** Node errors that say: it does not hold the pchannel at this term or a lower one. */
const notHeld = ["IGNORED_OPERATION", "UNMATCHED_CHANNEL_TERM", "CHANNEL_NOT_EXIST"] as const;

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
  const { meta, policy, calls, clock, random, logger = silentLogger } = options;
  const { prefix = "coord/pchannels/", onChange = nothing } = options;
  const { operationTimeoutMs = 300_000, intervalMs = 60_000 } = options;
  const collections = options.collections ?? (() => new Map<string, readonly string[]>());

  const channels = new Map<string, Channel>();
  const running = new Set<Promise<void>>();
  const closing = new AbortController();
  let started = false;
  let cancelInterval = nothing;

  const key = (name: string): string => `${prefix}${name}`;

  /** The live node that is this very run of it. */
  const alive = (owner: Owner): BalancerNode | undefined =>
    options.nodes().find((n) => n.nodeId === owner.nodeId && n.incarnation === owner.incarnation);

  const load = async (channel: Channel): Promise<void> => {
    const { name } = channel.record;
    const entry = await meta.get(key(name), { signal: closing.signal });
    channel.record = entry ? decodeRecord(entry.key, entry.value) : uninitialized(name);
    channel.revision = entry?.revision ?? null;
    channel.stale = false;
  };

  const save = async (channel: Channel, next: PchannelRecord): Promise<void> => {
    const { revision: expected } = channel;
    channel.stale = true;
    channel.revision = await meta.put(key(next.name), encodeRecord(next), {
      expected,
      signal: closing.signal,
    });
    channel.record = next;
    channel.stale = false;
    onChange();
  };

  const bounded = async (
    node: BalancerNode,
    what: string,
    call: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> => {
    const deadline = new AbortController();
    const cancel = clock.schedule(operationTimeoutMs, () =>
      deadline.abort(
        new MillraceError("DEADLINE_EXCEEDED", `${what} took over ${operationTimeoutMs} ms`),
      ),
    );
    try {
      await call(AbortSignal.any([closing.signal, node.gone, deadline.signal]));
    } finally {
      cancel();
    }
  };

  const remove = async (name: string, owner: FormerOwner): Promise<void> => {
    const node = alive(owner);
    if (node === undefined) return;
    try {
      await bounded(node, `Remove of ${name} on ${node.nodeId}`, (signal) =>
        calls.remove(node, name, owner.term, signal),
      );
    } catch (error) {
      if (node.gone.aborted || MillraceError.is(error, ...notHeld)) return;
      throw error;
    }
  };

  const assign = async (channel: Channel, node: BalancerNode): Promise<void> => {
    const { name, term } = channel.record;
    try {
      await bounded(node, `Assign of ${name} to ${node.nodeId}`, (signal) =>
        calls.assign(node, name, term, signal),
      );
    } catch (error) {
      channel.floor = Math.max(channel.floor, higherTerm(error));
      throw error;
    }
  };

  /** Takes a pchannel to a node, or from its owner without a successor. */
  const move = async (channel: Channel, target: BalancerNode | undefined): Promise<void> => {
    if (channel.stale) await load(channel);
    await save(
      channel,
      target
        ? beginAssign(channel.record, ownerOf(target), channel.floor)
        : beginRelease(channel.record),
    );
    const { name, former } = channel.record;
    await Promise.all(former.map((owner) => remove(name, owner)));
    if (target) await assign(channel, target);
    await save(channel, target ? finishAssign(channel.record) : finishRelease(channel.record));
    logger.info(target ? "pchannel assigned" : "pchannel released", {
      pchannel: name,
      term: channel.record.term,
      node: target?.nodeId,
    });
  };

  const fail = (channel: Channel, error: unknown, target: Owner | undefined): void => {
    logger.warn("moving a pchannel failed, it will be tried again", {
      pchannel: channel.record.name,
      term: channel.record.term,
      node: target?.nodeId,
      error,
    });
    const wait = backoffDelay(channel.failures, random);
    channel.failures += 1;
    channel.notBefore = clock.monotonic() + wait;
    channel.cancelRetry = clock.schedule(wait, plan);
  };

  const operate = async (channel: Channel, target: BalancerNode | undefined): Promise<void> => {
    channel.busy = true;
    channel.target = target;
    try {
      await move(channel, target);
      channel.failures = 0;
    } catch (error) {
      if (closing.signal.aborted) return;
      if (target?.gone.aborted) channel.failures = 0;
      else fail(channel, error, target);
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
    // Settled by operate itself, which does not reject.
    void operation.finally(() => running.delete(operation));
  };

  const layoutOf = (takers: ReadonlyMap<string, BalancerNode>): Layout => {
    const loads = collections();
    const now = clock.monotonic();
    const isTaker = (owner: Owner): boolean =>
      takers.get(owner.nodeId)?.incarnation === owner.incarnation;
    const pchannels = [...channels.values()].map((channel) => {
      const { name, state, owner } = channel.record;
      const at = channel.busy ? channel.target : state === "assigned" ? owner : undefined;
      return {
        name,
        node: at && isTaker(at) ? at.nodeId : undefined,
        pinned: channel.busy || channel.notBefore > now,
        collections: loads.get(name) ?? [],
      };
    });
    return { nodes: [...takers.keys()], pchannels };
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
    if (!started || closing.signal.aborted) return;
    const takers = new Map(
      options
        .nodes()
        .filter((node) => !node.draining)
        .map((node) => [node.nodeId, node]),
    );
    if (takers.size === 0) {
      releaseAll();
      return;
    }
    for (const { pchannel, to } of policy.plan(layoutOf(takers))) {
      const channel = channels.get(pchannel);
      const target = takers.get(to);
      if (channel && target && !channel.busy) begin(channel, target);
    }
  };

  const everyInterval = (): void => {
    cancelInterval = clock.schedule(intervalMs, everyInterval);
    plan();
  };

  return {
    async load() {
      for (const name of options.pchannels) {
        channels.set(name, {
          record: uninitialized(name),
          revision: null,
          stale: true,
          floor: 0,
          target: undefined,
          busy: false,
          failures: 0,
          notBefore: 0,
          cancelRetry: nothing,
        });
      }
      await Promise.all([...channels.values()].map(load));
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
      const next = markUnavailable(channel.record, term);
      if (next === channel.record) return;
      channel.busy = true;
      channel.target = channel.record.owner;
      try {
        if (channel.stale) await load(channel);
        await save(channel, markUnavailable(channel.record, term));
      } finally {
        channel.busy = false;
        channel.target = undefined;
      }
      plan();
    },
    holds: (nodeId, incarnation) =>
      [...channels.values()].some(
        ({ record, target }) =>
          mayHold(record, nodeId, incarnation) ||
          (target?.nodeId === nodeId && target.incarnation === incarnation),
      ),
    async close() {
      closing.abort(new MillraceError("CANCELLED", "the balancer is closing"));
      cancelInterval();
      for (const channel of channels.values()) channel.cancelRetry();
      await Promise.all(running);
    },
  };
}

function ownerOf({ nodeId, incarnation, address }: Owner): Owner {
  return { nodeId, incarnation, address };
}

/** The higher term that a node said it knows; 0 if it did not say so. */
function higherTerm(error: unknown): number {
  if (!MillraceError.is(error, "CHANNEL_FENCED", "IGNORED_OPERATION")) return 0;
  const term = Number(error.expected);
  return Number.isSafeInteger(term) ? term : 0;
}
