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
  /**
   * It counts for its node, but must not be moved now: it is on its way, was moved a moment ago, has
   * not recovered yet, an operator wants it there, or rebalancing is off.
   */
  pinned: boolean;
  /** The collection of each of its vchannels. */
  collections: readonly string[];
}

/** Who there is, and who has what. Plain data. */
export interface Layout {
  /** The nodes that may be given pchannels: alive, not draining, not frozen, not failing. */
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
 * Every pchannel without a node gets one if there is any; pinned ones are left alone. It should end:
 * asked again with its moves made, it moves nothing at some point.
 */
export interface BalancePolicy {
  /** As in `UpdateBalancePolicyRequest.policy`. */
  readonly name: string;
  /** At most one move for each pchannel. What {@linkcode checkMoves} refuses is not done. */
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
