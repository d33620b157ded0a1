/**
 * What operators may ask of a balancer, and what is refused.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { Channel } from "./channel.ts";
import { compareText } from "./layout.ts";
import type { BalancerNode } from "./mover.ts";
import type { Placement } from "./placement.ts";
import type { Planner } from "./planner.ts";
import type { SettingsStore } from "./settings.ts";

/** Options of {@linkcode createOperator}. */
export interface OperatorOptions {
  channels: ReadonlyMap<string, Channel>;
  /** The nodes that are alive. */
  nodes: () => readonly BalancerNode[];
  planner: Planner;
  placement: Placement;
  settings: SettingsStore;
}

/** A change of how pchannels are placed; what is absent stays as it is. */
export interface BalanceChange {
  /** Name of a policy. */
  policy?: string;
  /** Whether pchannels that are served may be moved for the sake of balance. */
  allowRebalance?: boolean;
}

/** Checks what operators ask, and saves it. */
export interface Operator {
  /** The pchannel of a name. `INVALID_ARGUMENT` if there is none. */
  channel(pchannel: string): Channel;
  /** A node that may be given pchannels. `INVALID_ARGUMENT` or `PRECONDITION_FAILED` if it may not. */
  taker(nodeId: string): BalancerNode;
  freeze(nodeId: string): Promise<void>;
  unfreeze(nodeId: string): Promise<void>;
  update(change: BalanceChange): Promise<void>;
}

/** How many nodes may be frozen: they are remembered when they are gone. */
const maxFrozen = 1000;
/** How many names an error lists. */
const maxListed = 10;

/** Creates an {@linkcode Operator}. */
export function createOperator(options: OperatorOptions): Operator {
  const { channels, nodes, planner, placement, settings } = options;

  const living = (nodeId: string): BalancerNode => {
    const node = nodes().find((candidate) => candidate.nodeId === nodeId);
    if (node) return node;
    const ids = nodes().map((candidate) => candidate.nodeId);
    throw unknown("node_id", "living node", nodeId, ids);
  };

  return {
    channel(pchannel) {
      const channel = channels.get(pchannel);
      if (channel) return channel;
      throw unknown("pchannel", "pchannel", pchannel, [...channels.keys()]);
    },
    taker(nodeId) {
      const node = living(nodeId);
      if (node.draining) throw refused(`node ${nodeId} is draining; choose another one`);
      if (settings.current().frozen.includes(nodeId)) {
        throw refused(`node ${nodeId} is frozen; unfreeze it first, or choose another one`);
      }
      return node;
    },
    async freeze(nodeId) {
      await settings.update((current) => {
        if (current.frozen.includes(nodeId)) return current;
        const node = living(nodeId);
        const others = planner.takers().filter((other) => other.nodeId !== nodeId);
        if (!node.draining && others.length === 0) {
          throw refused(
            `node ${nodeId} is the last that can take pchannels; start or unfreeze another one first`,
          );
        }
        if (current.frozen.length >= maxFrozen) {
          throw new MillraceError(
            "RESOURCE_EXHAUSTED",
            `${maxFrozen} nodes are frozen already; unfreeze those that are gone`,
          );
        }
        return { ...current, frozen: [...current.frozen, nodeId].sort(compareText) };
      });
    },
    async unfreeze(nodeId) {
      await settings.update((current) => {
        if (!current.frozen.includes(nodeId)) {
          living(nodeId);
          return current;
        }
        return { ...current, frozen: current.frozen.filter((id) => id !== nodeId) };
      });
    },
    async update({ policy, allowRebalance }) {
      if (policy !== undefined && !placement.policies().includes(policy)) {
        throw unknown("policy", "policy", policy, placement.policies());
      }
      await settings.update((current) => ({
        ...current,
        ...(policy !== undefined && { policy }),
        ...(allowRebalance !== undefined && { allowRebalance }),
      }));
    },
  };
}

function refused(message: string): MillraceError {
  return new MillraceError("PRECONDITION_FAILED", message, { field: "node_id" });
}

function unknown(
  field: string,
  what: string,
  name: string,
  known: readonly string[],
): MillraceError {
  const more = known.length > maxListed ? ` and ${known.length - maxListed} more` : "";
  const there = known.length === 0 ? "none" : `${known.slice(0, maxListed).join(", ")}${more}`;
  return new MillraceError(
    "INVALID_ARGUMENT",
    `there is no ${what} ${JSON.stringify(name)}; known: ${there}`,
    { field },
  );
}
