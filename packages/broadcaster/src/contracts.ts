/**
 * What a broadcaster is given, and what it tells.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";
import type { ResourceKey } from "./resource-keys.ts";

/** A message as it stands in each vchannel. The broadcaster does not look into it. */
export interface BroadcastMessage {
  /** Which callback it has. */
  type: number;
  header: Uint8Array;
  payload: Uint8Array;
}

/** Where a copy stands. */
export interface AppendResult {
  id: Position;
  /** Of the copy. */
  tick: Tick;
  /** A reader of the vchannel that goes on from this sequence misses nothing. */
  resume: number;
}

/** What goes with a copy. */
export interface AppendOptions {
  /** Of the broadcast. */
  id: bigint;
  /** The same for each attempt. */
  idempotencyKey: string;
  /** Aborted when the broadcaster closes, or the broadcast is aborted. */
  signal: AbortSignal;
}

/**
 * Appends one copy and answers when it is durable: one attempt. The same key in the same vchannel again
 * must answer with the copy that is there. An error of which it is certain that it had no effect is a
 * MillraceError that is not `maybeApplied`, of a code that says so, such as `CHANNEL_NOT_EXIST`.
 */
export type VchannelAppend = (
  vchannel: string,
  message: BroadcastMessage,
  options: AppendOptions,
) => Promise<AppendResult>;

/**
 * When a vchannel has acknowledged its copy: as soon as it is appended, or when
 * `Broadcaster.ack` says that a consumer has dealt with it.
 */
export type AckWhen = "appended" | "flushed";

/** What is to be broadcast, found out under the locks. */
export interface BroadcastPlan {
  /** At most 512 KiB with the payload. */
  header: Uint8Array;
  /** Default: empty. */
  payload?: Uint8Array;
  /** Who gets a copy: 1 to 1024, each once. */
  vchannels: readonly string[];
  /** Default `appended`. */
  ackWhen?: AckWhen;
}

/** What a callback is told. */
export interface CallbackInput {
  id: bigint;
  message: BroadcastMessage;
  /** Where the copies stand, by vchannel, without the control channel's. */
  results: ReadonlyMap<string, AppendResult>;
  /** The tick of the copy on the control channel; `undefined` if there is none. */
  controlTick: Tick | undefined;
  /** vchannels that an operator has left out. Their copy may or may not be there. */
  leftOut: readonly string[];
  /** Aborted when the broadcaster closes, or the task is aborted. */
  signal: AbortSignal;
}

/**
 * What follows from a broadcast, once all vchannels have acknowledged it. It is called until it
 * succeeds, and again after a crash: a repeat must change nothing.
 */
export type Callback = (input: CallbackInput) => Promise<void>;

/** How a broadcast has ended. */
export interface BroadcastResult {
  id: bigint;
  /** Where the copies stand, by vchannel, without the control channel's. */
  results: ReadonlyMap<string, AppendResult>;
  /** The tick of the copy on the control channel; `undefined` if there is none. */
  controlTick: Tick | undefined;
  /** vchannels that an operator has left out. */
  leftOut: readonly string[];
  /** An earlier broadcast with the idempotency key did it. */
  duplicate: boolean;
}

/** How far one copy is. */
export interface CopyInfo {
  vchannel: string;
  /**
   * `waiting`: it is certain that it is not there; `unknown`: an attempt may have had its effect;
   * `appended`; `acked`; `left-out`: by an operator.
   */
  state: "waiting" | "unknown" | "appended" | "acked" | "left-out";
  /** Where it stands in time; `undefined`: it is not known to be there. */
  tick: Tick | undefined;
  /** Failed attempts to append it, since this broadcaster began. */
  failures: number;
  /** Why the last attempt failed; empty if none did since the last success. */
  problem: string;
}

/** A task that is under way. */
export interface TaskInfo {
  id: bigint;
  message: BroadcastMessage;
  keys: readonly ResourceKey[];
  /** What it waits for: its record to be saved, its copies, acknowledgements, its callback, its end. */
  state: "saving" | "appending" | "acking" | "callback" | "ending";
  ackWhen: AckWhen;
  /** The control channel's copy first, if there is one. */
  copies: readonly CopyInfo[];
  /** When it was begun, in milliseconds since 1970. */
  since: number;
  /** Failed steps since the last success of any. */
  failures: number;
  /** The last error; empty if nothing failed since the last success. */
  problem: string;
}

/** What to broadcast. */
export interface BroadcastRequest {
  /** Of the message: says which callback it has. */
  type: number;
  /** What it concerns; at most 64. The cluster's is added, shared, unless it is among them. */
  keys: readonly ResourceKey[];
  /**
   * Finds out under the locks what is to be broadcast. Throws to refuse; `undefined`: nothing is to be
   * done. It may be called again if the request is a duplicate of one that came to nothing.
   */
  plan: () => Promise<BroadcastPlan | undefined> | BroadcastPlan | undefined;
  /**
   * The same key again, with the same type and resource keys, answers with the result of the first
   * broadcast, also while that is under way. At most 512 characters; empty (the default): none.
   */
  idempotencyKey?: string;
  /** Ends the wait, and the request as long as there is no task; a task goes on. */
  signal?: AbortSignal;
}

/** What an operator insists on; see {@linkcode AbortOptions.force}. */
export type AbortForce = "finish" | "forget";

/** Options of `Broadcaster.abort`. */
export interface AbortOptions {
  /**
   * For a task that may have reached vchannels. `finish`: those that lack it are left out, and the
   * callback runs. `forget`: the callback does not run (it may have, if it was tried), whatever has
   * been appended. Default: refuse.
   */
  force?: AbortForce;
}
