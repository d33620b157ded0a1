/**
 * The policy that counts pchannels.
 *
 * @module
 */

import { type BalancePolicy, compareText, type Layout, type Move } from "../layout.ts";

/**
 * Gives each node the same number of pchannels, give or take one, with the fewest moves.
 * Ties go to the node whose id is smaller.
 */
export function pchannelFair(): BalancePolicy {
  return {
    name: "pchannel-fair",
    plan(layout) {
      if (layout.nodes.length === 0) return [];
      const held = holdings(layout);
      return [...placeUnowned(layout, held), ...evenOut(layout, held)];
    },
  };
}

/** How many pchannels each node has, in order of node ids. */
function holdings(layout: Layout): Map<string, number> {
  const held = new Map([...layout.nodes].sort(compareText).map((node) => [node, 0]));
  for (const { node } of layout.pchannels) {
    // What is pinned to a node that takes nothing new does not count.
    if (node !== undefined && held.has(node)) held.set(node, count(held, node) + 1);
  }
  return held;
}

function placeUnowned(layout: Layout, held: Map<string, number>): Move[] {
  const moves: Move[] = [];
  for (const { name, node, pinned } of layout.pchannels) {
    if (node !== undefined || pinned) continue;
    const to = least(held);
    held.set(to, count(held, to) + 1);
    moves.push({ pchannel: name, to });
  }
  return moves;
}

/** Takes from the fullest node that has something movable and gives to the emptiest. */
function evenOut(layout: Layout, held: Map<string, number>): Move[] {
  const moves: Move[] = [];
  const movable = new Map<string, string[]>(layout.nodes.map((node) => [node, []]));
  for (const { name, node, pinned } of layout.pchannels) {
    if (node !== undefined && !pinned) movable.get(node)?.push(name);
  }
  for (;;) {
    const to = least(held);
    const from = most(held, (node) => (movable.get(node)?.length ?? 0) > 0);
    if (from === undefined || count(held, from) - count(held, to) <= 1) return moves;
    const pchannel = movable.get(from)?.pop();
    if (pchannel === undefined) return moves;
    held.set(from, count(held, from) - 1);
    held.set(to, count(held, to) + 1);
    moves.push({ pchannel, to });
  }
}

function count(held: Map<string, number>, node: string): number {
  return held.get(node) ?? 0;
}

function least(held: Map<string, number>): string {
  let found = "";
  let fewest = Number.POSITIVE_INFINITY;
  for (const [node, n] of held) {
    if (n < fewest) [found, fewest] = [node, n];
  }
  return found;
}

function most(held: Map<string, number>, eligible: (node: string) => boolean): string | undefined {
  let found: string | undefined;
  let largest = -1;
  for (const [node, n] of held) {
    if (n > largest && eligible(node)) [found, largest] = [node, n];
  }
  return found;
}
