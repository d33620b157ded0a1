/**
 * Wal: what a node uses. One pchannel, one owner, one sequencer.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";
import type { LogBounds } from "./log.ts";
import type { RecordBatch, WalMessage } from "./record-batch.ts";

/** Options of {@linkcode Wal.append}. */
export interface AppendOptions {
  /**
   * At most 512 bytes of UTF-8, scoped to the vchannel. A second append with the same key writes
   * nothing and answers what the first one answered.
   */
  idempotencyKey?: string;
  /** The ticks given must exceed this. */
  barrier?: Tick;
  /** Gives up while the append waits for admission; afterwards it has no effect. */
  signal?: AbortSignal;
}

/** Where an append stands. */
export interface AppendResult {
  /** Of the first message; the others follow it in the same batch. */
  id: Position;
  firstTick: Tick;
  lastTick: Tick;
  /** An earlier append with this idempotency key wrote it. */
  duplicate: boolean;
}

/** Where a scan starts. */
export type ScanFrom =
  /** The first batch that the log holds. */
  | "earliest"
  /** What is written after the scan began. */
  | "latest"
  /** This sequence, inclusive. */
  | { sequence: number };

/** Options of {@linkcode Wal.scan}. */
export interface ScanOptions {
  from: ScanFrom;
  /** Only batches that have messages of this vchannel (or of the empty one). */
  vchannel?: string;
  /** Ends the scan. */
  signal: AbortSignal;
}

/** What must be kept so that a log can be opened without reading all of it. */
export interface WalSnapshot {
  /** Everything before this sequence is contained. */
  sequence: number;
  /** The last tick before it. */
  lastTick: Tick;
  /** The vchannels that exist, with the header, place and tick of the message that created each. */
  vchannels: { name: string; created: Uint8Array; id: Position; tick: Tick }[];
  /** The idempotency window, oldest first. */
  keys: { vchannel: string; key: string; id: Position; firstTick: Tick; count: number }[];
}

/** A pchannel's log at its owner. */
export interface Wal {
  readonly pchannel: string;
  readonly term: number;
  /**
   * Makes messages durable, all in one batch, and resolves when they are. All must be of one
   * vchannel. Errors: `VCHANNEL_NOT_EXIST`, `INVALID_ARGUMENT` (too large), `RESOURCE_EXHAUSTED`
   * (too much waiting), `CHANNEL_FENCED`, `ON_SHUTDOWN`.
   */
  append(messages: readonly WalMessage[], options?: AppendOptions): Promise<AppendResult>;
  /** Every batch from a place on, once and in order; waits for more at the end. */
  scan(options: ScanOptions): AsyncIterable<RecordBatch>;
  bounds(): LogBounds;
  /** The last tick that was given and is durable. */
  lastTick(): Tick;
  /** The vchannels that exist, now and later, with the header of the message that created each. */
  vchannels(): ReadonlyMap<string, Uint8Array>;
  snapshot(): WalSnapshot;
  /** Forgets batches before a sequence. */
  truncate(before: number): Promise<void>;
  /** Aborted when the log is fenced, poisoned or closed; its reason is the error. */
  readonly signal: AbortSignal;
  /** Refuses new appends, lets those under way finish, ends scans. */
  close(): Promise<void>;
}
