/**
 * History: what the users of a log did and what they saw, in the order in which it happened.
 *
 * A test writes one down while it runs; {@linkcode checkHistory} of `checker.ts` says what is wrong
 * with it. Whatever a message holds, its writer gives it a name that no other message of the history
 * has, so that it is known again wherever it turns up.
 *
 * @module
 */

import type { ErrorCode, Position, Tick } from "@millrace/types";

/** Something that is waited for: the number by which its events are put together. */
export type OperationId = number;

/** An owner asks for the log at its term. */
export interface OpenEvent {
  kind: "open";
  term: number;
}

/** The log is open at a term. Absent for an owner that was refused, or that died on its way. */
export interface OpenedEvent {
  kind: "opened";
  term: number;
  /** Where its own batches begin, if it is known. */
  next?: number | undefined;
}

/** Messages are handed to the owner of a term, all to be written together. */
export interface AppendEvent {
  kind: "append";
  op: OperationId;
  term: number;
  /** The names of the messages, in order; at least one. A second attempt has those of the first. */
  names: readonly string[];
  /** The idempotency key; absent or empty: none, and there is no second attempt. */
  key?: string | undefined;
  /** The transaction the messages belong to; absent or 0: none. */
  txn?: Tick | undefined;
  /** The ticks must exceed this. */
  barrier?: Tick | undefined;
}

/** A transaction is begun; acknowledged with its BEGIN_TXN message, whose tick is its name. */
export interface BeginEvent {
  kind: "begin";
  op: OperationId;
  term: number;
}

/** A transaction is to count; acknowledged with its COMMIT_TXN message. */
export interface CommitEvent {
  kind: "commit";
  op: OperationId;
  term: number;
  txn: Tick;
}

/** A transaction is to count for nothing; `settled` when it does. */
export interface RollbackEvent {
  kind: "rollback";
  op: OperationId;
  term: number;
  txn: Tick;
}

/** An operation has succeeded and stands in the log. */
export interface AcknowledgedEvent {
  kind: "acknowledged";
  op: OperationId;
  /** Of its first message. */
  id: Position;
  firstTick: Tick;
  lastTick: Tick;
  /** An earlier attempt wrote it. */
  duplicate?: boolean | undefined;
}

/** An operation that has no place in the log has succeeded. */
export interface SettledEvent {
  kind: "settled";
  op: OperationId;
}

/** An operation has failed, definitely without effect. One without an outcome may have had one. */
export interface FailedEvent {
  kind: "failed";
  op: OperationId;
  /** Why; `TRANSACTION_EXPIRED` says of a commit that the transaction never counts. */
  code?: ErrorCode | undefined;
}

/** An owner asks for what is before a sequence to be forgotten. */
export interface TruncateEvent {
  kind: "truncate";
  term: number;
  before: number;
}

/** A reader begins. One that goes on later is a reader of its own. */
export interface ReadEvent {
  kind: "read";
  reader: string;
  /** Whether it sees batches as they stand in the log, or what counts. */
  view: "batches" | "deliveries";
  /**
   * Where: the first that is left, behind what was written when it began, this sequence, or behind the
   * delivery with this tick, which a reader got that left out what was begun before `since`.
   */
  from: "earliest" | "latest" | { sequence: number } | { after: Tick; since: number };
  /** Only what counts from later than this tick on. */
  afterTick?: Tick | undefined;
  /** Only messages of this vchannel or the empty one, or batches that have any. */
  vchannel?: string | undefined;
}

/** A reader has got a batch. */
export interface BatchEvent {
  kind: "batch";
  reader: string;
  batch: SeenBatch;
}

/** A reader has got a delivery. */
export interface DeliveryEvent {
  kind: "delivery";
  reader: string;
  delivery: SeenDelivery;
}

/** A reader has got everything up to the end of the log, as that stood at some time since it began. */
export interface CompleteEvent {
  kind: "complete";
  reader: string;
}

/** A reader was told that what it asked for was truncated. */
export interface OutOfRangeEvent {
  kind: "out-of-range";
  reader: string;
  /** The first sequence that is left. */
  first: number;
}

/** What happened. */
export type HistoryEvent =
  | OpenEvent
  | OpenedEvent
  | AppendEvent
  | BeginEvent
  | CommitEvent
  | RollbackEvent
  | AcknowledgedEvent
  | SettledEvent
  | FailedEvent
  | TruncateEvent
  | ReadEvent
  | BatchEvent
  | DeliveryEvent
  | CompleteEvent
  | OutOfRangeEvent;

/** A message as a reader saw it. */
export interface SeenMessage {
  /** Empty: no append wrote it. */
  name: string;
  /** A MessageType of millrace.v1. */
  type: number;
  vchannel: string;
  txn: Tick;
}

/** A batch as a reader saw it. */
export interface SeenBatch {
  sequence: number;
  term: number;
  firstTick: Tick;
  messages: readonly SeenMessage[];
}

/** A delivery as a reader saw it. */
export interface SeenDelivery {
  tick: Tick;
  id: Position;
  /** Those that have one. */
  names: readonly string[];
}
