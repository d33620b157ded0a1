/**
 * Asks the policy in force, and stands in for it if it answers nonsense.
 *
 * @module
 */

import { type Logger, MillraceError } from "@millrace/types";
import { checkMoves } from "./check-moves.ts";
import type { BalancePolicy, Layout, Move } from "./layout.ts";
import { pchannelFair } from "./policies/pchannel-fair.ts";

/** Options of {@linkcode createPlacement}. */
export interface PlacementOptions {
  /** At least one. */
  policies: readonly BalancePolicy[];
  /** Name of the policy that is wanted. */
  wanted: () => string;
  logger: Logger;
}

/** Where pchannels should go. */
export interface Placement {
  /** The policy in force: the one that is wanted, or the first if there is none of that name. */
  policy(): string;
  /** The names of all policies. */
  policies(): string[];
  /** Moves that can be made. Never throws. */
  plan(layout: Layout): Move[];
}

/** Creates a {@linkcode Placement}. Throws `INVALID_ARGUMENT` if two policies have one name. */
export function createPlacement({ policies, wanted, logger }: PlacementOptions): Placement {
  const byName = new Map(policies.map((policy) => [policy.name, policy]));
  const [first] = policies;
  if (first === undefined || byName.size < policies.length) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      "policies must be of different names, one at least",
      {
        field: "policies",
      },
    );
  }
  const standIn = pchannelFair();
  let complaint = "";

  /** Says so once, not at each look. */
  const complain = (message: string, fields: Record<string, unknown>): void => {
    const text = `${message} ${JSON.stringify(fields)}`;
    if (text !== complaint) logger.error(message, fields);
    complaint = text;
  };

  const inForce = (): BalancePolicy => byName.get(wanted()) ?? first;

  return {
    policy: () => inForce().name,
    policies: () => [...byName.keys()],
    plan(layout) {
      const policy = inForce();
      if (policy.name !== wanted()) {
        complain("there is no such policy, another one is in force", {
          wanted: wanted(),
          policy: policy.name,
        });
      }
      try {
        return checkMoves(layout, policy.plan(layout));
      } catch (error) {
        const { message } = MillraceError.from(error);
        complain("the answer of a policy is refused", { policy: policy.name, reason: message });
        return standIn.plan(withPlacedPinned(layout));
      }
    },
  };
}

/** What has a node keeps it; the rest must be served. */
function withPlacedPinned(layout: Layout): Layout {
  const pchannels = layout.pchannels.map((p) =>
    p.node === undefined ? p : { ...p, pinned: true },
  );
  return { ...layout, pchannels };
}
