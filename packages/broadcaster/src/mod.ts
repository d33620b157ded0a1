/**
 * Broadcasts: a message into many channels, or into none, and then one change that follows from it.
 *
 * @module
 */

export {
  type Broadcaster,
  type BroadcasterOptions,
  createBroadcaster,
} from "./broadcaster.ts";
export { clusterKey, type LockMode, type ResourceKey } from "./resource-keys.ts";
export type {
  AbortForce,
  AbortOptions,
  AckWhen,
  AppendOptions,
  AppendResult,
  BroadcastMessage,
  BroadcastPlan,
  BroadcastRequest,
  BroadcastResult,
  Callback,
  CallbackInput,
  CopyInfo,
  TaskInfo,
  VchannelAppend,
} from "./contracts.ts";
