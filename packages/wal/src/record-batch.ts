/**
 * RecordBatch: what is written to a log at once, encoded once. What is on disk is what a consumer is
 * sent.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";

/** A message on its way into the log. */
export interface WalMessage {
  /** A MessageType of millrace.v1; numbers that are not known are carried. */
  type: number;
  /** The vchannel it belongs to; empty: every vchannel of the pchannel. */
  vchannel: string;
  /** Read by the node. */
  header: Uint8Array;
  /** Never read by the node. */
  payload: Uint8Array;
}

/** A message as it stands in the log. */
export interface StoredMessage extends WalMessage {
  id: Position;
  /** The batch's first tick plus the message's index. */
  tick: Tick;
  /** The idempotency key of its append; empty: none. On the first message of the append only. */
  idempotencyKey: string;
  /** How many messages its append has; on the first message of the append only, else 0. */
  appendCount: number;
  /**
   * The transaction it belongs to: the tick of its BEGIN_TXN message, 0 on that message itself. 0: none,
   * it counts at once. Otherwise it counts when a COMMIT_TXN message of the transaction follows.
   */
  txn: Tick;
}

/** A verified batch: a view of its bytes. */
export interface RecordBatch {
  /** The encoding, header and checksums included. */
  readonly bytes: Uint8Array;
  readonly term: number;
  readonly sequence: number;
  readonly firstTick: Tick;
  readonly lastTick: Tick;
  /** Number of messages. */
  readonly count: number;
  /** CRC-32 of the encoding. */
  readonly checksum: number;
  /** The checksum of the batch before it in the log; 0 for the first of a log. */
  readonly previousChecksum: number;
  /** The vchannels of its messages, each once, without parsing the messages. */
  readonly vchannels: readonly string[];
  /** The messages, as views of `bytes`. */
  messages(): Iterable<StoredMessage>;
}

/** Messages that count together: one append, or one committed transaction. */
export interface Delivery {
  /** From when they count: the tick of the last message of the append, or of the commit. */
  tick: Tick;
  /** The place of the first message of the append, or of the COMMIT_TXN message. */
  id: Position;
  /** In the order of the log, without the messages that begin and end a transaction. */
  messages: readonly StoredMessage[];
  /**
   * A reader that goes on behind this delivery begins at this sequence and leaves out what has a tick
   * up to its own: transactions that are open began at or behind it.
   */
  resume: number;
}
