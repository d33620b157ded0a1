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
