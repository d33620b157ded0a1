/**
 * The loop that keeps every pchannel owned: it asks the policy where pchannels should be, and moves
 * them there one step at a time, each step saved before it is taken.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import {
  type Clock,
  type Live,
  type Logger,
  MillraceError,
  type Random,
  readLive,
  silentLogger,
} from "@millrace/types";
import { type Channel, newChannel } from "./channel.ts";
import { isSameRun, mayHold, type NodeRun, type PchannelRecord } from "./channel-state.ts";
import type { BalancePolicy } from "./layout.ts";
import { type BalancerNode, createMover, type NodeCalls } from "./mover.ts";
import { createNodeHealth } from "./node-health.ts";
import { createOperations } from "./operations.ts";
import { type BalanceChange, createOperator } from "./operator.ts";
import { createPlacement } from "./placement.ts";
import { createPlanner } from "./planner.ts";
import { pchannelFair } from "./policies/pchannel-fair.ts";
import { vchannelFair } from "./policies/vchannel-fair.ts";
import { type BalanceSettings, createSettings } from "./settings.ts";

/** Options of {@linkcode createBalancer}. */
export interface BalancerOptions {
  /** Where the state of pchannels and the settings are kept. */
  meta: MetaStore;
  /** Key prefix of the state of pchannels. Default `coord/pchannels/`. */
  prefix?: string;
  /** Key of the settings. Default `coord/balance`. */
  settingsKey?: string;
  /**
   * The names of all pchannels, in a fixed order. There may be more than at the last start, never
   * fewer.
   */
  pchannels: readonly string[];
  /**
   * Of different names, at least one. Default: {@linkcode vchannelFair} and {@linkcode pchannelFair}.
   */
  policies?: readonly BalancePolicy[];
  /** Name of the policy that is in force until an operator chooses one. Default: the first. */
  policy?: Live<string>;
  /** Whether pchannels move for the sake of balance until an operator chooses. Default `true`. */
  allowRebalance?: Live<boolean>;
  /** The nodes that are alive now. Call {@linkcode Balancer.trigger} when they change. */
  nodes: () => readonly BalancerNode[];
  calls: NodeCalls;
  /** The collection of each vchannel, by pchannel. Default: none. */
  collections?: () => ReadonlyMap<string, readonly string[]>;
  /**
   * How far the owner at a term is from having recovered what it took over, in milliseconds;
   * `undefined` if that is not known. Default: always 0.
   */
  recoveryLagMs?: (pchannel: string, term: number) => number | undefined;
  /** A pchannel with vchannels stays where it is for so long, in ms, unless it must move. Default 300000. */
  minRebalanceIntervalMs?: Live<number>;
  /** A pchannel with vchannels stays where it is while it lags by more, in ms, unless it must. Default 1000. */
  maxRecoveryLagMs?: Live<number>;
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
  intervalMs?: Live<number>;
}

/** How pchannels are placed at this moment. */
export interface BalanceStatus extends BalanceSettings {
  /** The policy in force. */
  readonly policy: string;
  /** The names of all policies. */
  readonly policies: readonly string[];
}

/** Moves pchannels between nodes. */
export interface Balancer {
  /**
   * Loads what is saved. `PRECONDITION_FAILED` if it has pchannels that are not among those given,
   * `DATA_LOSS` if it is damaged.
   */
  load(): Promise<void>;
  /** Begins to move pchannels. Call it once, when `nodes` answers for the owners that were loaded. */
  start(): void;
  /** The saved state of each pchannel, in the given order. */
  records(): readonly PchannelRecord[];
  /** How pchannels are placed. */
  status(): BalanceStatus;
  /** Looks at placement now; retries that wait for their time are made at once. */
  trigger(): void;
  /** The owner at `term` does not serve the pchannel. Ignored if that is not its present term. */
  markUnavailable(pchannel: string, term: number): Promise<void>;
  /** `true` if a run of a node owns any pchannel or may still hold one. */
  holds(run: NodeRun): boolean;
  /**
   * Gives a node no more pchannels and moves its own away, over its restarts too. Resolves when that
   * is saved. `PRECONDITION_FAILED` if no other node could take them, `INVALID_ARGUMENT` if there is
   * no such node.
   */
  freeze(nodeId: string): Promise<void>;
  /** Takes a freeze back. `INVALID_ARGUMENT` if the node is neither frozen nor there. */
  unfreeze(nodeId: string): Promise<void>;
  /**
   * Moves a pchannel to a node, and keeps it there until the node dies, drains, is frozen or fails to
   * serve it, or the pchannel is transferred again. Resolves when it is served there; rejects if that
   * failed, and it is placed as any other then. An aborted signal ends the wait, not the transfer.
   * `INVALID_ARGUMENT` if there is no such pchannel or node, `PRECONDITION_FAILED` if the node is
   * frozen or draining.
   */
  transfer(pchannel: string, nodeId: string, signal?: AbortSignal): Promise<PchannelRecord>;
  /** Changes how pchannels are placed, saved. `INVALID_ARGUMENT` if there is no such policy. */
  update(change: BalanceChange): Promise<void>;
  /** Ends all calls and waits for them. */
  close(): Promise<void>;
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
  const { meta, calls, nodes, clock, random, logger = silentLogger } = options;
  const { prefix = "coord/pchannels/", settingsKey = "coord/balance" } = options;
  const { onChange = nothing, operationTimeoutMs = 300_000 } = options;
  const intervalMs = readLive(options.intervalMs ?? 60_000);
  const { policies = [vchannelFair(), pchannelFair()] } = options;

  const closing = new AbortController();
  const { signal } = closing;
  const channels = new Map(options.pchannels.map((name) => [name, newChannel(name)]));
  const policy = readLive(options.policy ?? policies[0]?.name ?? "");
  const allowRebalance = readLive(options.allowRebalance ?? true);
  const settings = createSettings(meta, settingsKey, () => ({
    policy: policy(),
    allowRebalance: allowRebalance(),
  }));
  const placement = createPlacement({ policies, wanted: () => settings.current().policy, logger });
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
  const planner = createPlanner({
    channels,
    nodes,
    settings: settings.current,
    placement,
    health,
    collections: options.collections ?? (() => new Map()),
    recoveryLagMs: options.recoveryLagMs ?? (() => 0),
    minRebalanceIntervalMs: options.minRebalanceIntervalMs ?? 300_000,
    maxRecoveryLagMs: options.maxRecoveryLagMs ?? 1000,
    clock,
  });
  const operator = createOperator({ channels, nodes, planner, placement, settings });
  let started = false;
  let cancelInterval = nothing;

  const plan = (): void => {
    if (!started || signal.aborted) return;
    for (const { channel, target } of planner.steps()) {
      // What went wrong was logged, and is tried again.
      operations.move(channel, target, false).catch(nothing);
    }
  };

  const operations = createOperations({ channels, mover, plan, clock, random, logger, signal });

  const everyInterval = (): void => {
    cancelInterval = clock.schedule(intervalMs(), everyInterval);
    plan();
  };

  return {
    async load() {
      const [entries] = await Promise.all([meta.list(prefix, { signal }), settings.load()]);
      const saved = new Map(entries.map((entry) => [entry.key.slice(prefix.length), entry]));
      refuseFewer(channels, [...saved.keys()]);
      for (const [name, channel] of channels) {
        mover.adopt(channel, saved.get(name));
        // The wall clock may have jumped; what seems to lie ahead was a moment ago.
        const ago = Math.max(0, clock.now() - channel.record.assignedAt);
        channel.assignedAt = clock.monotonic() - ago;
      }
    },
    start() {
      started = true;
      everyInterval();
    },
    records: () => [...channels.values()].map((channel) => channel.record),
    status: () => ({
      ...settings.current(),
      policy: placement.policy(),
      policies: placement.policies(),
    }),
    trigger() {
      operations.hurry();
      plan();
    },
    async markUnavailable(pchannel, term) {
      const channel = channels.get(pchannel);
      if (channel === undefined || channel.operation) return;
      await operations.markUnavailable(channel, term);
    },
    holds: (run) => [...channels.values()].some(({ record }) => mayHold(record, run)),
    async freeze(nodeId) {
      await operator.freeze(nodeId);
      logger.info("node frozen", { node: nodeId });
      plan();
    },
    async unfreeze(nodeId) {
      await operator.unfreeze(nodeId);
      logger.info("node unfrozen", { node: nodeId });
      plan();
    },
    async transfer(pchannel, nodeId, caller = signal) {
      const channel = operator.channel(pchannel);
      for (;;) {
        caller.throwIfAborted();
        signal.throwIfAborted();
        const target = operator.taker(nodeId);
        if (channel.operation) {
          await unlessAborted(channel.operation.catch(nothing), caller);
          continue;
        }
        const { state, owner } = channel.record;
        const isThere = state === "assigned" && isSameRun(owner, target);
        logger.info("pchannel transferred", { pchannel, node: nodeId });
        const operation = isThere
          ? operations.keep(channel, target)
          : operations.move(channel, target, true);
        await unlessAborted(operation.catch(transferFailed(pchannel, nodeId)), caller);
        return channel.record;
      }
    },
    async update(change) {
      await operator.update(change);
      logger.info("balance changed", { ...change });
      plan();
    },
    async close() {
      closing.abort(new MillraceError("CANCELLED", "the balancer is closing"));
      cancelInterval();
      await operations.close();
    },
  };
}

/** A pchannel that is not there any more would take its rows with it. */
function refuseFewer(channels: ReadonlyMap<string, Channel>, saved: readonly string[]): void {
  const missing = saved.filter((name) => !channels.has(name));
  if (missing.length === 0) return;
  throw new MillraceError(
    "PRECONDITION_FAILED",
    `the metadata has ${saved.length} pchannels, among them ${missing[0]}, which is not one of the ${channels.size} that were given; pchannels may be added but not removed, for their logs hold rows`,
    { field: "pchannels", expected: String(saved.length) },
  );
}

/** Throws why a transfer failed. It may have been begun, so that the pchannel goes where others do. */
function transferFailed(pchannel: string, nodeId: string): (error: unknown) => never {
  return (cause) => {
    const { code, message } = MillraceError.from(cause);
    throw new MillraceError(
      code,
      `${pchannel} could not be transferred to node ${nodeId}, and goes where the policy says: ${message}`,
      { maybeApplied: true, retryable: false, cause },
    );
  };
}

/** The result, or the signal's reason as soon as it is aborted. What is under way goes on. */
function unlessAborted<T>(result: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    result.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
