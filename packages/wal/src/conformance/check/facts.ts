/**
 * Facts: what a history says, put together into operations, appends, transactions and readers.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";
import type {
  AcknowledgedEvent,
  AppendEvent,
  BeginEvent,
  CommitEvent,
  ReadEvent,
  RollbackEvent,
  SeenBatch,
  SeenDelivery,
} from "../history.ts";

/** Something that was asked of an owner, and what became of it. */
export interface Operation {
  request: AppendEvent | BeginEvent | CommitEvent | RollbackEvent;
  /** How many were asked for before it. */
  number: number;
  /** Absent without an acknowledgement. */
  ack?: AcknowledgedEvent;
  /** `unknown`: it may or may not have had an effect. */
  outcome: "acknowledged" | "failed" | "unknown";
  /** It was told that the transaction never counts. */
  expired: boolean;
  /** The last operation in the log that was acknowledged before this was asked for. */
  precededBy: Operation | undefined;
  /** A higher term that was open before this was asked for. */
  fencedBy: number | undefined;
}

/** An append and its further attempts. */
export interface Append {
  names: readonly string[];
  attempts: Operation[];
  /** The first attempt that was acknowledged. */
  acked: Operation | undefined;
}

/** What was asked of a transaction. */
export interface Transaction {
  commits: Operation[];
  /** A rollback that succeeded before anyone had asked for a commit. */
  rolledBack: Operation | undefined;
}

/** A reader and what it saw. */
export interface Reader {
  request: ReadEvent;
  batches: SeenBatch[];
  deliveries: SeenDelivery[];
  /** It has seen all, up to the end as it stood at some time since it began. */
  complete: boolean;
  /** The last operation in the log that was acknowledged before it began. */
  precededBy: Operation | undefined;
  /** Behind all the batches that others had come to when it began. */
  seenBefore: number;
  /** How many operations had been asked for when it began. */
  operationsBefore: number;
  /** Everything before this sequence may have been truncated when it ended. */
  truncatedTo: number;
}

/** An owner whose log was opened. */
export interface Owner {
  term: number;
  next: number | undefined;
}

/** A history, put together. */
export interface Facts {
  operations: Operation[];
  appends: Append[];
  /** By the name of each message. */
  appendOf: Map<string, Append>;
  transactions: Map<Tick, Transaction>;
  readers: Reader[];
  /** In the order of time. */
  owners: Owner[];
  truncatedTo: number;
}

/** What is wrong. */
export type ViolationKind =
  /** Acknowledged and not there. */
  | "lost"
  /** There twice. */
  | "doubled"
  /** There, and nobody wrote it. */
  | "invented"
  /** There, although it had failed. */
  | "failed-but-seen"
  /** Some of an append or a transaction without the rest. */
  | "torn"
  /** Not in the order of ticks, of places, or of what happened before what. */
  | "order"
  /** Acknowledged or written by an owner after another one had followed. */
  | "fence"
  /** Two readers saw different things at one place. */
  | "diverged"
  /** A reader missed something. */
  | "skipped"
  /** A reader saw something again. */
  | "repeated"
  /** Forgotten, and nobody had asked for that. */
  | "truncation"
  /** A message of a transaction that is not open, or that counts against what was asked. */
  | "transaction";

/** Something that is wrong with a history. */
export interface Violation {
  kind: ViolationKind;
  /** Names the operations and readers, and the places. */
  message: string;
}

/** Takes down what is wrong. */
export type Report = (kind: ViolationKind, message: string) => void;

/** A place, for messages. */
export function describePlace({ sequence, index }: Position): string {
  return `${sequence}.${index}`;
}

/** An operation, for messages. */
export function describeOperation({ request }: Operation): string {
  const { kind, op, term } = request;
  if (kind === "append") return `append ${op} of term ${term} (${request.names.join(", ")})`;
  if (kind === "begin") return `begin ${op} of term ${term}`;
  return `${kind} ${op} of term ${term} (transaction ${request.txn})`;
}
