/**
 * The policy that weighs pchannels, vchannels and which collections meet on a node, as Milvus 2.6
 * does by default.
 *
 * @module
 */

import { type Live, MillraceError, readLive } from "@millrace/types";
import type { BalancePolicy, Layout, Move } from "../layout.ts";
import { type CostedLayout, costedLayout, type Weights } from "./costed-layout.ts";

/** Options of {@linkcode vchannelFair}. The defaults are those of Milvus. */
export interface VchannelFairOptions {
  /** Weight of an uneven number of pchannels, 0 or more. Default 0.4. */
  pchannelWeight?: number;
  /** Weight of an uneven number of vchannels, 0 or more. Default 0.3. */
  vchannelWeight?: number;
  /** Weight of shards of unlike collections on one node, 0 or more. Default 0.01. */
  affinityWeight?: number;
  /** At most so many pchannels that have a node move at once, 1 to 3. Default 3. */
  maxStep?: number;
  /** The cost must fall by more than this for each pchannel that moves, 0 or more. Default 0.01. */
  tolerance?: number;
}

interface Checked {
  weights: Weights;
  maxStep: number;
  tolerance: number;
}

/** Costs that differ by less are the same: sums of fractions depend on their order. */
const rounding = 1e-9;

/**
 * Keeps what is placed and places the rest at least cost, those with most vchannels first. When all
 * are placed, moves up to `maxStep` pchannels where that lowers the cost by more than `tolerance` for
 * each of them. The cost is that of {@linkcode costedLayout}.
 *
 * Ties go to the node that has the pchannel, then to the one whose id is smaller, then to the pchannel
 * that comes first. 10 000 pchannels over 200 nodes are placed in well under a second.
 * Throws `INVALID_ARGUMENT` for an option out of its range. Options that a function answers are asked
 * for and checked with each plan too.
 */
export function vchannelFair(options: Live<VchannelFairOptions> = {}): BalancePolicy {
  const read = readLive(options);
  check(read());
  return {
    name: "vchannel-fair",
    plan(layout) {
      if (layout.nodes.length === 0) return [];
      const { weights, maxStep, tolerance } = check(read());
      const costed = costedLayout(layout, weights);
      const placing = placeUnowned(layout, costed);
      // What was placed must arrive before anything else moves for its sake.
      if (placing.length > 0) return placing;
      return improve(layout, costed, maxStep, tolerance);
    },
  };
}

function check(options: VchannelFairOptions): Checked {
  const { maxStep = 3, tolerance = 0.01 } = options;
  const { pchannelWeight = 0.4, vchannelWeight = 0.3, affinityWeight = 0.01 } = options;
  const weights: Weights = { pchannelWeight, vchannelWeight, affinityWeight };
  for (const [field, value] of Object.entries({ ...weights, tolerance })) {
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) throw outOfRange(field, "0 or more");
  }
  if (![1, 2, 3].includes(maxStep)) throw outOfRange("maxStep", "1, 2 or 3");
  return { weights, maxStep, tolerance };
}

function outOfRange(field: string, range: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} must be ${range}`, { field });
}

function placeUnowned(layout: Layout, costed: CostedLayout): Move[] {
  const size = (index: number): number => layout.pchannels[index]?.collections.length ?? 0;
  // Sorting is stable, so the order of the layout breaks ties.
  const unowned = [...layout.pchannels.keys()]
    .filter((index) => {
      const pchannel = layout.pchannels[index];
      return pchannel?.node === undefined && !pchannel?.pinned;
    })
    .sort((a, b) => size(b) - size(a));
  return unowned.map((pchannel) => {
    const node = cheapest(costed.costs(pchannel), 1)[0] ?? 0;
    costed.place(pchannel, node);
    return moveOf(layout, costed, pchannel, node);
  });
}

/** The best places for the pchannels that cost most where they are, if that is worth it. */
function improve(layout: Layout, costed: CostedLayout, maxStep: number, tolerance: number): Move[] {
  const taken = takeCostliest(layout, costed, maxStep);
  const homes = taken.map(({ home }) => home);
  // One more on a node never makes another cheaper there, so that in a best layout each pchannel is
  // where it is, or on one of as many of the nodes that are cheapest for it alone as are moved.
  const candidates = taken.map(({ pchannel, home }) => [
    home,
    ...cheapest(costed.costs(pchannel), taken.length).filter((node) => node !== home),
  ]);
  let best = homes;
  let least = Number.POSITIVE_INFINITY;
  const search = (nodes: number[], cost: number): void => {
    const { pchannel, home } = taken[nodes.length] ?? {};
    if (pchannel === undefined) {
      if (cost < least - rounding) [best, least] = [nodes, cost];
      return;
    }
    const costs = costed.costs(pchannel).slice();
    for (const node of candidates[nodes.length] ?? []) {
      costed.place(pchannel, node);
      const toll = node === home ? 0 : tolerance;
      search([...nodes, node], cost + (costs[node] ?? 0) + toll);
      costed.take(pchannel);
    }
  };
  search([], 0);
  return taken.flatMap(({ pchannel, home }, index) => {
    const node = best[index] ?? home;
    return node === home ? [] : [moveOf(layout, costed, pchannel, node)];
  });
}

/** Takes the pchannels whose removal, one after the other, lowers the cost the most. */
function takeCostliest(
  layout: Layout,
  costed: CostedLayout,
  count: number,
): { pchannel: number; home: number }[] {
  const taken: { pchannel: number; home: number }[] = [];
  while (taken.length < count) {
    let found = -1;
    let most = Number.NEGATIVE_INFINITY;
    layout.pchannels.forEach(({ pinned }, pchannel) => {
      if (pinned || costed.nodeOf(pchannel) < 0) return;
      const gain = costed.gain(pchannel);
      if (gain > most + rounding) [found, most] = [pchannel, gain];
    });
    if (found < 0) return taken;
    taken.push({ pchannel: found, home: costed.nodeOf(found) });
    costed.take(found);
  }
  return taken;
}

/** The nodes of the `count` lowest costs, the lowest first; of equal ones the smaller number. */
function cheapest(costs: Float64Array, count: number): number[] {
  const found: number[] = [];
  while (found.length < Math.min(count, costs.length)) {
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    costs.forEach((cost, node) => {
      if (cost < least - rounding && !found.includes(node)) [best, least] = [node, cost];
    });
    found.push(best);
  }
  return found;
}

function moveOf(layout: Layout, costed: CostedLayout, pchannel: number, node: number): Move {
  return { pchannel: layout.pchannels[pchannel]?.name ?? "", to: costed.nodes[node] ?? "" };
}
