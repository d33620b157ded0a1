/**
 * Who owns which pchannel: placement policies, the persisted state of each pchannel, and the loop
 * that moves pchannels between nodes.
 *
 * @module
 */

export * from "./balancer.ts";
export * from "./channel-state.ts";
export * from "./check-moves.ts";
export * from "./layout.ts";
export type { BalancerNode, NodeCalls } from "./mover.ts";
export type { BalanceChange } from "./operator.ts";
export * from "./policies/pchannel-fair.ts";
export * from "./policies/vchannel-fair.ts";
export type { BalanceSettings } from "./settings.ts";
export * from "./vchannels.ts";
