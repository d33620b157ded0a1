/**
 * What the users of a cluster did and saw, in the order in which it happened: whatever runs in a test
 * writes it down here, and `history.ts` makes histories of logs from it.
 *
 * @module
 */

import { crc32 } from "node:zlib";
import { columnsToRows, type MillraceError } from "@millrace/types";
import type { ColumnBatch } from "@millrace/types/gen";
import type { HistoryEvent } from "@millrace/wal/conformance";

/** The rows of an insert that go to one vchannel: one message. */
export interface Part {
  vchannel: string;
  /** See {@linkcode nameOf}. */
  name: string;
}

/** Something that happened. */
export type Recorded =
  /** An attempt of an insert begins; further attempts have the same key and parts. */
  | { kind: "insert"; op: number; key: string; parts: readonly Part[] }
  | { kind: "inserted"; op: number; tick: bigint; duplicate: boolean }
  /** An attempt has failed and had no effect. */
  | { kind: "failed"; op: number }
  /** A pchannel is served at a term. */
  | { kind: "opened"; pchannel: string; term: number }
  /** A reader of a pchannel. */
  | { kind: "read"; pchannel: string; event: HistoryEvent };

/** All that happened. */
export interface Record {
  events: Recorded[];
  /** What must not happen and needs no checker. */
  surprises: string[];
  nextOp(): number;
  surprise(what: string): void;
}

/** Creates an empty record. */
export function createRecord(): Record {
  let ops = 0;
  const surprises: string[] = [];
  return {
    events: [],
    surprises,
    nextOp: () => ops++,
    surprise(what) {
      // The first ones tell; if there are many, they are of one kind.
      if (surprises.length < 100) surprises.push(what);
    },
  };
}

/** A collection that is written to. */
export interface Target {
  collection: string;
  vchannels: readonly string[];
}

/** The name of a message: the primary keys of its rows, so that it has no other content unseen. */
export function nameOf(ids: readonly string[]): string {
  return ids.join(" ");
}

/** The name of a message of which the columns are known. */
export function nameOfColumns(columns: ColumnBatch): string {
  return nameOf(columnsToRows(columns).map(({ id }) => String(id)));
}

/** The shard of a VARCHAR key of at most 100 bytes. */
export function shardOf(id: string, shards: number): number {
  return crc32(id) % shards;
}

/** The messages that an insert becomes. */
export function partsOf(ids: readonly string[], { vchannels }: Target): Part[] {
  const parts: Part[] = [];
  for (const [shard, vchannel] of vchannels.entries()) {
    const own = ids.filter((id) => shardOf(id, vchannels.length) === shard);
    if (own.length > 0) parts.push({ vchannel, name: nameOf(own) });
  }
  return parts;
}

/** Errors that a cluster may answer with while it is broken. */
const expected: readonly string[] = [
  ...["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ON_SHUTDOWN", "RESOURCE_EXHAUSTED"],
  ...["CHANNEL_FENCED", "CHANNEL_NOT_EXIST", "UNMATCHED_CHANNEL_TERM", "PRECONDITION_FAILED"],
];

/** `true` if a call may fail so while the cluster is broken. */
export function isExpected(error: MillraceError): boolean {
  return expected.includes(error.code);
}
