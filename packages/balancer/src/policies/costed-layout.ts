/**
 * A layout whose cost is kept up to date over placements, so that a step costs what it changes and
 * not what there is.
 *
 * The cost of a layout is the sum over its nodes of
 *
 *   pchannelWeight · ((pchannels − mean) / mean)²
 *   + vchannelWeight · ((vchannels − mean) / mean)²
 *   + affinityWeight · Σ over pairs of its pchannels (1 − affinity)
 *
 * where the means are over all pchannels, placed or not, and the affinity of two pchannels is how much
 * of what they hold belongs to the same collections: 2 |A ∩ B| / (|A| + |B|), from 0 to 1. (Milvus
 * computes (D − R) / D, which falls with shared collections and may be negative; here more in common is
 * a higher affinity, as its comment intends.)
 *
 * @module
 */

import { compareText, type Layout } from "../layout.ts";

/** How much each part of the cost counts. */
export interface Weights {
  /** Of an uneven number of pchannels. */
  pchannelWeight: number;
  /** Of an uneven number of vchannels. */
  vchannelWeight: number;
  /** Of shards of unlike collections on one node. */
  affinityWeight: number;
}

/** Nodes and pchannels by their numbers, and what placing one costs. */
export interface CostedLayout {
  /** In order of their ids: a smaller number is a smaller id. */
  readonly nodes: readonly string[];
  /** Number of the node that a pchannel is placed on; -1: none. */
  nodeOf(pchannel: number): number;
  /**
   * By how much the cost grows if a pchannel that is not placed goes to each node. The array is
   * overwritten by the next call.
   */
  costs(pchannel: number): Float64Array;
  /** By how much the cost falls if a pchannel is taken from its node. */
  gain(pchannel: number): number;
  place(pchannel: number, node: number): void;
  /** Takes a pchannel from its node. */
  take(pchannel: number): void;
}

/** Nobody. */
const nowhere = -1;

/** The layout with its costs. A pchannel on a node that takes nothing new counts as not placed. */
export function costedLayout(layout: Layout, weights: Weights): CostedLayout {
  const nodes = [...layout.nodes].sort(compareText);
  const { sizes, collections, holders } = indexCollections(layout);
  const at = new Int32Array(layout.pchannels.length).fill(nowhere);
  const pchannels = new Int32Array(nodes.length);
  const vchannels = new Int32Array(nodes.length);
  const costs = new Float64Array(nodes.length);
  const pchannelMean = layout.pchannels.length / nodes.length;
  const vchannelMean = sizes.reduce((sum, size) => sum + size, 0) / nodes.length;
  const pchannelFactor = weights.pchannelWeight / pchannelMean ** 2;
  const vchannelFactor = vchannelMean === 0 ? 0 : weights.vchannelWeight / vchannelMean ** 2;
  const { affinityWeight } = weights;

  /** What one more pchannel of a size costs on a node that has so many, unlike all of them. */
  const costWithoutAffinity = (size: number, held: number, heldVchannels: number): number =>
    pchannelFactor * (2 * (held - pchannelMean) + 1) +
    vchannelFactor * size * (2 * (heldVchannels - vchannelMean) + size) +
    affinityWeight * held;

  /** Calls `visit` with the affinity that each shared collection adds, and with its node. */
  const eachAffinity = (pchannel: number, visit: (node: number, affinity: number) => void) => {
    const own = collections[pchannel] as Int32Array;
    for (const collection of own) {
      for (const other of holders[collection] as number[]) {
        const node = at[other] as number;
        if (node === nowhere || other === pchannel) continue;
        visit(node, 2 / (own.length + (collections[other] as Int32Array).length));
      }
    }
  };

  const result: CostedLayout = {
    nodes,
    nodeOf: (pchannel) => at[pchannel] as number,
    costs(pchannel) {
      const size = sizes[pchannel] as number;
      for (let node = 0; node < nodes.length; node++) {
        costs[node] = costWithoutAffinity(
          size,
          pchannels[node] as number,
          vchannels[node] as number,
        );
      }
      eachAffinity(pchannel, (node, affinity) => {
        costs[node] = (costs[node] as number) - affinityWeight * affinity;
      });
      return costs;
    },
    gain(pchannel) {
      const size = sizes[pchannel] as number;
      const own = at[pchannel] as number;
      const [held, heldVchannels] = [pchannels[own] as number, vchannels[own] as number];
      let gain = costWithoutAffinity(size, held - 1, heldVchannels - size);
      eachAffinity(pchannel, (node, affinity) => {
        if (node === own) gain -= affinityWeight * affinity;
      });
      return gain;
    },
    place(pchannel, node) {
      at[pchannel] = node;
      pchannels[node] = (pchannels[node] as number) + 1;
      vchannels[node] = (vchannels[node] as number) + (sizes[pchannel] as number);
    },
    take(pchannel) {
      const node = at[pchannel] as number;
      at[pchannel] = nowhere;
      pchannels[node] = (pchannels[node] as number) - 1;
      vchannels[node] = (vchannels[node] as number) - (sizes[pchannel] as number);
    },
  };
  const numbers = new Map(nodes.map((node, number) => [node, number]));
  layout.pchannels.forEach(({ node }, pchannel) => {
    const number = node === undefined ? undefined : numbers.get(node);
    if (number !== undefined) result.place(pchannel, number);
  });
  return result;
}

/** Collections by number: of each pchannel, each once, and which pchannels have one. */
function indexCollections(layout: Layout) {
  const numbers = new Map<string, number>();
  const holders: number[][] = [];
  const collections = layout.pchannels.map((pchannel, index) => {
    const own = [...new Set(pchannel.collections)].map((collection) => {
      let number = numbers.get(collection);
      if (number === undefined) {
        number = holders.push([]) - 1;
        numbers.set(collection, number);
      }
      holders[number]?.push(index);
      return number;
    });
    return Int32Array.from(own);
  });
  const sizes = layout.pchannels.map((pchannel) => pchannel.collections.length);
  return { sizes, collections, holders };
}
