/**
 * The streaming node of Millrace.
 *
 * @module
 */

export { createNode, type NodeOptions, type StreamingNode } from "./node.ts";
export type { LogLimits } from "./pchannel.ts";
export { defaultRetention, type RetentionLimits } from "./retention.ts";
