/**
 * The policy that weighs pchannels, vchannels and which collections meet on a node, as Milvus 2.6
 * does by default.
 *
 * @module
 */

import {
  applyMoves,
  type BalancePolicy,
  compareText,
  type Layout,
  type LayoutPchannel,
  type Move,
} from "../layout.ts";

/** Options of {@linkcode vchannelFair}. The defaults are those of Milvus. */
export interface VchannelFairOptions {
  /** Weight of an uneven number of pchannels. Default 0.4. */
  pchannelWeight?: number;
  /** Weight of an uneven number of vchannels. Default 0.3. */
  vchannelWeight?: number;
  /** Weight of shards of unlike collections on one node. Default 0.01. */
  affinityWeight?: number;
  /** Also moves pchannels that have an owner. Default `true`. */
  rebalance?: boolean;
  /** At most so many pchannels with an owner move at once, 1 to 3. Default 3. */
  maxStep?: number;
  /** The cost must fall by more than this to be worth a move. Default 0.01. */
  tolerance?: number;
}

type Weights = Required<
  Pick<VchannelFairOptions, "pchannelWeight" | "vchannelWeight" | "affinityWeight">
>;

/**
 * Keeps what is placed; places the rest at least cost, those with most vchannels first; then moves
 * up to `maxStep` pchannels if that lowers the cost by more than `tolerance`.
 * Ties go to the node whose id is smaller, then to the pchannel that comes first.
 */
export function vchannelFair(options: VchannelFairOptions = {}): BalancePolicy {
  const { rebalance = true, maxStep = 3, tolerance = 0.01 } = options;
  const weights: Weights = {
    pchannelWeight: options.pchannelWeight ?? 0.4,
    vchannelWeight: options.vchannelWeight ?? 0.3,
    affinityWeight: options.affinityWeight ?? 0.01,
  };
  return {
    name: "vchannel-fair",
    plan(layout) {
      if (layout.nodes.length === 0) return [];
      const sorted: Layout = { ...layout, nodes: [...layout.nodes].sort(compareText) };
      const placing = placeUnowned(sorted, weights);
      if (!rebalance) return placing;
      const placed = applyMoves(sorted, placing);
      const fresh = new Set(placing.map((move) => move.pchannel));
      const movable = (p: LayoutPchannel): boolean => !p.pinned && !fresh.has(p.name);
      return [...placing, ...improve(placed, movable, weights, maxStep, tolerance)];
    },
  };
}

function placeUnowned(layout: Layout, weights: Weights): Move[] {
  const moves: Move[] = [];
  const unowned = layout.pchannels
    .filter((p) => p.node === undefined && !p.pinned)
    .sort((a, b) => b.collections.length - a.collections.length);
  for (const { name } of unowned) {
    let best: Move | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const to of layout.nodes) {
      const cost = layoutCost(applyMoves(layout, [...moves, { pchannel: name, to }]), weights);
      if (cost < least) [best, least] = [{ pchannel: name, to }, cost];
    }
    if (best) moves.push(best);
  }
  return moves;
}

function improve(
  layout: Layout,
  movable: (p: LayoutPchannel) => boolean,
  weights: Weights,
  maxStep: number,
  tolerance: number,
): Move[] {
  const picked = costliest(layout, movable, weights, maxStep);
  const before = layoutCost(layout, weights);
  let best: Move[] = [];
  let least = before;
  const search = (moves: Move[]): void => {
    const next = picked[moves.length];
    if (next === undefined) {
      const cost = layoutCost(applyMoves(layout, moves), weights);
      if (cost < least) [best, least] = [moves, cost];
      return;
    }
    for (const to of layout.nodes) search([...moves, { pchannel: next, to }]);
  };
  search([]);
  if (before - least <= tolerance) return [];
  const current = new Map(layout.pchannels.map((p) => [p.name, p.node]));
  return best.filter((move) => current.get(move.pchannel) !== move.to);
}

/** The pchannels whose removal, one after the other, lowers the cost the most. */
function costliest(
  layout: Layout,
  movable: (p: LayoutPchannel) => boolean,
  weights: Weights,
  count: number,
): string[] {
  const picked: string[] = [];
  while (picked.length < count) {
    let best: string | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const p of layout.pchannels) {
      if (!movable(p) || p.node === undefined || picked.includes(p.name)) continue;
      const cost = layoutCost(without(layout, [...picked, p.name]), weights);
      if (cost < least) [best, least] = [p.name, cost];
    }
    if (best === undefined) return picked;
    picked.push(best);
  }
  return picked;
}

function without(layout: Layout, names: readonly string[]): Layout {
  const pchannels = layout.pchannels.map((p) =>
    names.includes(p.name) ? { ...p, node: undefined } : p,
  );
  return { nodes: layout.nodes, pchannels };
}

/** The sum over all nodes; means are over all pchannels, placed or not. */
function layoutCost(layout: Layout, weights: Weights): number {
  const meanPchannels = layout.pchannels.length / layout.nodes.length;
  const vchannels = layout.pchannels.reduce((sum, p) => sum + p.collections.length, 0);
  const meanVchannels = vchannels / layout.nodes.length;
  return layout.nodes.reduce((sum, node) => {
    const own = layout.pchannels.filter((p) => p.node === node);
    const held = own.reduce((n, p) => n + p.collections.length, 0);
    return (
      sum +
      weights.pchannelWeight * deviation(own.length, meanPchannels) +
      weights.vchannelWeight * deviation(held, meanVchannels) +
      weights.affinityWeight * strangeness(own)
    );
  }, 0);
}

function deviation(value: number, mean: number): number {
  return mean === 0 ? 0 : ((value - mean) / mean) ** 2;
}

/** Over all pairs of pchannels: how few of their vchannels belong to the same collection. */
function strangeness(own: readonly LayoutPchannel[]): number {
  let sum = 0;
  own.forEach((a, i) => {
    for (const b of own.slice(i + 1)) sum += 1 - affinity(a, b);
  });
  return sum;
}

/**
 * How many of the vchannels of two pchannels belong to a collection that both or one hold more than
 * once, from 0 to 1. (Milvus computes (D − R) / D, which falls with shared collections and may be
 * negative; here more in common is a higher affinity, as its comment intends.)
 */
function affinity(a: LayoutPchannel, b: LayoutPchannel): number {
  const counts = new Map<string, number>();
  for (const id of [...a.collections, ...b.collections]) counts.set(id, (counts.get(id) ?? 0) + 1);
  const total = a.collections.length + b.collections.length;
  if (total === 0) return 0;
  let repeated = 0;
  for (const n of counts.values()) if (n > 1) repeated += n;
  return repeated / total;
}
