/**
 * Whether a policy's answer can be carried out.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { Layout, Move } from "./layout.ts";

/**
 * The moves of an answer, without those that change nothing. Throws `INVALID_ARGUMENT` with the path
 * of the field if it is not a list of moves, names a pchannel or node that the layout does not have,
 * moves a pchannel that is pinned, or one twice.
 */
export function checkMoves(layout: Layout, answer: unknown): Move[] {
  if (!Array.isArray(answer)) throw refused("", `must be a list of moves, got ${typeof answer}`);
  const nodes = new Set(layout.nodes);
  const pchannels = new Map(layout.pchannels.map((pchannel) => [pchannel.name, pchannel]));
  const moved = new Set<string>();
  const moves: Move[] = [];
  answer.forEach((move: unknown, index) => {
    const { pchannel, to } = (move ?? {}) as Partial<Record<keyof Move, unknown>>;
    const known = typeof pchannel === "string" ? pchannels.get(pchannel) : undefined;
    const at = `[${index}]`;
    if (known === undefined) throw refused(`${at}.pchannel`, `${show(pchannel)} is not a pchannel`);
    if (known.pinned) throw refused(`${at}.pchannel`, `${known.name} is pinned`);
    if (moved.has(known.name)) throw refused(`${at}.pchannel`, `${known.name} is moved twice`);
    if (typeof to !== "string" || !nodes.has(to)) {
      throw refused(`${at}.to`, `${show(to)} is not a node that takes pchannels`);
    }
    moved.add(known.name);
    if (known.node !== to) moves.push({ pchannel: known.name, to });
  });
  return moves;
}

function refused(path: string, why: string): MillraceError {
  const field = `moves${path}`;
  return new MillraceError("INVALID_ARGUMENT", `${field}: ${why}`, { field });
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : typeof value;
}
