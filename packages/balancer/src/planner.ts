/**
 * What should be done now: which pchannel should go where.
 *
 * @module
 */

import { type Clock, type Live, readLive } from "@millrace/types";
import type { Channel } from "./channel.ts";
import { isSameRun } from "./channel-state.ts";
import type { Layout, LayoutPchannel } from "./layout.ts";
import type { BalancerNode } from "./mover.ts";
import type { NodeHealth } from "./node-health.ts";
import type { Placement } from "./placement.ts";
import type { BalanceSettings } from "./settings.ts";

/** Options of {@linkcode createPlanner}. */
export interface PlannerOptions {
  /** In a fixed order. */
  channels: ReadonlyMap<string, Channel>;
  /** The nodes that are alive. */
  nodes: () => readonly BalancerNode[];
  settings: () => BalanceSettings;
  placement: Placement;
  health: NodeHealth;
  /** The collection of each vchannel, by pchannel. */
  collections: () => ReadonlyMap<string, readonly string[]>;
  /** As in `BalancerOptions`. */
  recoveryLagMs: (pchannel: string, term: number) => number | undefined;
  /** As in `BalancerOptions`. */
  minRebalanceIntervalMs: Live<number>;
  /** As in `BalancerOptions`. */
  maxRecoveryLagMs: Live<number>;
  clock: Clock;
}

/** One pchannel is to go to one node; without one it is taken from its owner. */
export interface Step {
  channel: Channel;
  target: BalancerNode | undefined;
}

/** Says what should be done. */
export interface Planner {
  /** The nodes that may be given pchannels. */
  takers(): BalancerNode[];
  /** The steps that may be taken at once, at most one for each pchannel that is not on its way. */
  steps(): Step[];
}

/** Creates a {@linkcode Planner}. It changes nothing. */
export function createPlanner(options: PlannerOptions): Planner {
  const { channels, nodes, settings, placement, health, collections, clock } = options;
  const minRebalanceIntervalMs = readLive(options.minRebalanceIntervalMs);
  const maxRecoveryLagMs = readLive(options.maxRecoveryLagMs);

  const takers = (): BalancerNode[] => {
    const frozen = new Set(settings().frozen);
    return nodes().filter((node) => !node.draining && !frozen.has(node.nodeId));
  };

  const mayRebalance = ({ record, assignedAt }: Channel, loaded: boolean): boolean => {
    if (!settings().allowRebalance) return false;
    // Where nothing was written nobody waits, and nothing is to be recovered.
    if (!loaded) return true;
    const lag = options.recoveryLagMs(record.name, record.term);
    return (
      clock.monotonic() - assignedAt >= minRebalanceIntervalMs() &&
      lag !== undefined &&
      lag <= maxRecoveryLagMs()
    );
  };

  /** Nobody can take over: what leaving or dead nodes have is taken from them. */
  const releases = (): Step[] => {
    const now = clock.monotonic();
    const serving = nodes().filter((node) => !node.draining);
    return [...channels.values()].flatMap((channel): Step[] => {
      const { state, owner, former } = channel.record;
      if (channel.operation || channel.notBefore > now) return [];
      // A frozen node goes on with what it has until another one can take it.
      if (state === "assigned" && serving.some((node) => isSameRun(node, owner))) return [];
      return owner || former.length > 0 ? [{ channel, target: undefined }] : [];
    });
  };

  const steps = (): Step[] => {
    const taking = takers();
    if (taking.length === 0) return releases();
    const byId = new Map(taking.map((node) => [node.nodeId, node]));
    const well = taking.filter((node) => health.accepts(node.incarnation));
    // Failing nodes only if there are no others.
    const accepting = new Map((well.length > 0 ? well : taking).map((node) => [node.nodeId, node]));
    const loads = collections();
    const now = clock.monotonic();
    const wished: Step[] = [];

    const view = (channel: Channel): LayoutPchannel => {
      const { name, state, owner, preferred } = channel.record;
      const held = loads.get(name) ?? [];
      const pchannel = { name, pinned: true, collections: held };
      const at = channel.operation ? channel.target : state === "assigned" ? owner : undefined;
      const node = at && isSameRun(byId.get(at.nodeId), at) ? at.nodeId : undefined;
      if (channel.operation || channel.notBefore > now) return { ...pchannel, node };
      if (node !== undefined) {
        const stays = isSameRun(preferred, owner) || !accepting.has(node);
        return { ...pchannel, node, pinned: stays || !mayRebalance(channel, held.length > 0) };
      }
      const wish = preferred && accepting.get(preferred.nodeId);
      if (wish && isSameRun(wish, preferred)) {
        wished.push({ channel, target: wish });
        return { ...pchannel, node: wish.nodeId };
      }
      return { ...pchannel, node: undefined, pinned: false };
    };

    const layout: Layout = {
      nodes: [...accepting.keys()],
      pchannels: [...channels.values()].map(view),
    };
    const moves = placement.plan(layout).flatMap(({ pchannel, to }): Step[] => {
      const [channel, target] = [channels.get(pchannel), accepting.get(to)];
      return channel && target ? [{ channel, target }] : [];
    });
    return [...wished, ...moves];
  };

  return { takers, steps };
}
