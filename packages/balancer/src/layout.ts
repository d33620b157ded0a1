/**
 * What a placement policy sees, and what it answers.
 *
 * @module
 */

/** A pchannel as a policy sees it. */
export interface LayoutPchannel {
  name: string;
  /** The node that has it or is about to get it; `undefined`: nobody. */
  node: string | undefined;
  /** It is on its way: it counts for its node, but must not be moved now. */
  pinned: boolean;
  /** The collection of each of its vchannels; a collection may occur more than once. */
  collections: readonly string[];
}

/** Who there is, and who has what. Plain data. */
export interface Layout {
  /** The nodes that may be given pchannels: alive, not draining, not failing. */
  nodes: readonly string[];
  /** In a fixed order. `node` is one of `nodes`; if it is pinned it may be another one. */
  pchannels: readonly LayoutPchannel[];
}

/** One pchannel is to go to one node. */
export interface Move {
  pchannel: string;
  /** One of the layout's nodes. */
  to: string;
}

/**
 * Decides placement. A pure function of the layout: the same layout gives the same moves.
 * Every pchannel without a node gets one if there is any; pinned ones are left alone.
 */
export interface BalancePolicy {
  /** As in `UpdateBalancePolicyRequest.policy`. */
  readonly name: string;
  plan(layout: Layout): Move[];
}

/** The layout after the moves. */
export function applyMoves(layout: Layout, moves: readonly Move[]): Layout {
  const to = new Map(moves.map((move) => [move.pchannel, move.to]));
  return {
    nodes: layout.nodes,
    pchannels: layout.pchannels.map((p) => ({ ...p, node: to.get(p.name) ?? p.node })),
  };
}

/** -1, 0 or 1 by UTF-16 code units: the order in which ties are broken. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
