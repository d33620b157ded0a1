/**
 * Wal: what a node uses. One pchannel, one owner, one sequencer.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";
import type { LogBounds, LogMark } from "./log.ts";
import type { Delivery, RecordBatch, WalMessage } from "./record-batch.ts";

/** Options of {@linkcode Wal.append}. */
export interface AppendOptions {
  /**
   * At most 512 bytes of UTF-8, scoped to the vchannel, or to the transaction if there is one. A second
   * append with the same key writes nothing and answers what the first one answered.
   */
  idempotencyKey?: string | undefined;
  /** The transaction the messages belong to, from {@linkcode Wal.begin}. Default: none. */
  txn?: Tick | undefined;
  /** The ticks given must exceed this. */
  barrier?: Tick | undefined;
  /** What an append does that finds too much waiting: it is refused (the default), or waits for room. */
  whenFull?: "refuse" | "wait" | undefined;
  /** Gives up while the append waits for admission; afterwards it has no effect. */
  signal?: AbortSignal | undefined;
}

/** Where an append stands. */
export interface AppendResult {
  /** Of the first message; the others follow it in the same batch. */
  id: Position;
  firstTick: Tick;
  lastTick: Tick;
  /** An earlier append with this idempotency key wrote it. */
  duplicate: boolean;
  /**
   * A reader that was told all up to this append and goes on from this sequence misses nothing:
   * transactions that were open then began at or behind it.
   */
  lastConfirmed: number;
}

/** Options of {@linkcode Wal.begin}. */
export interface BeginOptions {
  /** The vchannel that all messages of the transaction are of. */
  vchannel: string;
  /**
   * How long the transaction may rest before it is rolled back, in milliseconds of ticks: counted from
   * its last append. Default 10 000, 1 to 600 000.
   */
  leaseMs?: number | undefined;
  /** As in {@linkcode AppendOptions}: a second begin with the same key answers the same transaction. */
  idempotencyKey?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** A transaction that was begun. */
export interface BeginResult extends AppendResult {
  /** Its name: the tick of its BEGIN_TXN message. */
  txn: Tick;
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
  vchannel?: string | undefined;
  /**
   * Waits for more at the end, and ends quietly when the log is closed. Default true; otherwise what is
   * there when it begins is all, and a log that is closed before that was read is `ON_SHUTDOWN`.
   */
  follow?: boolean | undefined;
  /** Ends the scan. */
  signal: AbortSignal;
}

/** Options of {@linkcode Wal.read}. */
export interface ReadOptions {
  /**
   * Where to begin; `{ after }` is a delivery's own place: what was delivered up to it is left out, and
   * nothing behind it is missed, also not of transactions that were open then.
   */
  from: ScanFrom | { after: Pick<Delivery, "tick" | "resume"> };
  /** Only messages of this vchannel (or of the empty one). */
  vchannel?: string | undefined;
  /** Only what counts from later than this tick on. */
  afterTick?: Tick | undefined;
  /** Only messages of these types. Time ticks are never delivered. Default: all. */
  types?: readonly number[] | undefined;
  /** As in {@linkcode ScanOptions}. */
  follow?: boolean | undefined;
  /** Ends the reading. */
  signal: AbortSignal;
}

/** What must be kept so that a log can be opened without reading all of it. */
export interface WalSnapshot {
  /** Everything before this sequence is contained. */
  sequence: number;
  /** The last tick before it. */
  lastTick: Tick;
  /** The checksum of the batch before it; 0 if there is none. */
  checksum: number;
  /** Where it stands, so that what is before need not be read. */
  mark?: LogMark | undefined;
  /** The vchannels that exist. */
  vchannels: VchannelSnapshot[];
  /** The idempotency window, oldest first. */
  keys: KeySnapshot[];
  /** Transactions that are open. */
  txns: TxnSnapshot[];
}

/** A vchannel in a {@linkcode WalSnapshot}. */
export interface VchannelSnapshot {
  name: string;
  /** The header of the message that created it, with that message's place and tick. */
  created: Uint8Array;
  id: Position;
  tick: Tick;
  /** The version of its schema; inserts must have it. */
  schemaVersion: number;
  /** Its partitions. */
  partitions: string[];
  /** The segments that take inserts, one a partition at most. */
  segments: SegmentSnapshot[];
}

/** A growing segment in a {@linkcode WalSnapshot}. */
export interface SegmentSnapshot {
  /** Its name: the tick of its CREATE_SEGMENT message. */
  id: Tick;
  partition: string;
  rows: number;
  bytes: number;
  /** It is full when either is reached. */
  maxRows: number;
  maxBytes: number;
}

/** An idempotency key in a {@linkcode WalSnapshot}. */
export interface KeySnapshot {
  vchannel: string;
  key: string;
  id: Position;
  firstTick: Tick;
  count: number;
}

/** An open transaction in a {@linkcode WalSnapshot}. */
export interface TxnSnapshot {
  txn: Tick;
  vchannel: string;
  /** Of the batch with its BEGIN_TXN message. */
  sequence: number;
  /** Of its last message. */
  lastTick: Tick;
  leaseMs: number;
  /** The idempotency key of its beginning; empty: none. */
  key: string;
  /** Bytes of its messages. */
  bytes: number;
  /** The keys of its appends. */
  keys: Omit<KeySnapshot, "vchannel">[];
}

/** Time spent in a stage of the way of an append, in milliseconds. */
export interface StageTiming {
  count: number;
  totalMs: number;
  maxMs: number;
}

/** How a log is doing. Counters begin when it was opened. */
export interface WalStatus {
  appends: number;
  batches: number;
  bytes: number;
  /** Appends that were refused because of too much load. */
  refused: number;
  /** Bytes that wait to be written, or are being written. */
  waitingBytes: number;
  openTxns: number;
  /**
   * Of batches: `queued` from the arrival of a batch's first append until it was formed, `ticks` until
   * it had its ticks, `encoded` until it was bytes, `written` until it was durable. All 0 without a
   * clock.
   */
  stages: Record<"queued" | "ticks" | "encoded" | "written", StageTiming>;
}

/** A pchannel's log at its owner. */
export interface Wal {
  readonly pchannel: string;
  readonly term: number;
  /**
   * Makes messages durable, all in one batch, and resolves when they are. All must be of one vchannel.
   * Errors: `VCHANNEL_NOT_EXIST`, `PARTITION_NOT_FOUND`, `SCHEMA_VERSION_MISMATCH`, `INVALID_ARGUMENT`,
   * `TRANSACTION_EXPIRED`, `INVALID_TRANSACTION_STATE`, `RESOURCE_EXHAUSTED` (too much waiting, too fast,
   * or no room), `CHANNEL_FENCED`, `ON_SHUTDOWN`.
   */
  append(messages: readonly WalMessage[], options?: AppendOptions): Promise<AppendResult>;
  /** Begins a transaction: what is appended to it counts when it is committed, all at once, or never. */
  begin(options: BeginOptions): Promise<BeginResult>;
  /**
   * Makes a transaction count, at the tick of the answer, after its appends under way are settled. A
   * second commit answers the same. `TRANSACTION_EXPIRED` if it was rolled back or is not known: begin
   * the whole transaction again.
   */
  commit(txn: Tick): Promise<AppendResult>;
  /** Ends a transaction of which nothing is to count. A success if it is not open. */
  rollback(txn: Tick): Promise<void>;
  /** Every batch from a place on, once and in order; waits for more at the end. */
  scan(options: ScanOptions): AsyncIterable<RecordBatch>;
  /** What counts, once and in order: appends, and transactions when they are committed. */
  read(options: ReadOptions): AsyncIterable<Delivery>;
  bounds(): LogBounds;
  /** The last tick that was given and is durable. */
  lastTick(): Tick;
  /** All messages with ticks up to this one are in the log; later ones get higher ticks. */
  confirmedTick(): Tick;
  /**
   * Where a reader begins that wants all that counts from now on: the sequence with the beginning of the
   * oldest transaction that is open, the next one if none is.
   */
  lastConfirmed(): number;
  /** Takes a tick above `after` and resolves with it, or a higher one, when it is confirmed. */
  sync(after?: Tick): Promise<Tick>;
  /** The vchannels that exist, now and later, with the header of the message that created each. */
  vchannels(): ReadonlyMap<string, Uint8Array>;
  status(): WalStatus;
  snapshot(): WalSnapshot;
  /** Forgets batches before a sequence; what open transactions need stays. */
  truncate(before: number): Promise<void>;
  /** Aborted when the log is fenced, poisoned or closed; its reason is the error. */
  readonly signal: AbortSignal;
  /**
   * Refuses new appends, lets those under way finish, ends scans. Transactions stay open for the next
   * owner.
   */
  close(): Promise<void>;
}
