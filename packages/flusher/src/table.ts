/**
 * Table: where rows end, by commits that count once.
 *
 * @module
 */

import type { Tick } from "@millrace/types";
import type { CollectionSchema } from "@millrace/types/gen";
import type { ColumnStats } from "./column-stats.ts";

/** A data file that a commit adds. */
export interface TableFile {
  /** Relative to the table's path. */
  path: string;
  /** The name of the partition. */
  partition: string;
  rows: number;
  /** In bytes. */
  size: number;
  /** By column name. */
  stats: ReadonlyMap<string, ColumnStats>;
}

/** The rows of one vchannel in one range of the log. */
export interface RowCommit {
  vchannel: string;
  /** Of the owner that commits. */
  term: number;
  /** What the table was known to have of the vchannel; the files hold what comes after it. */
  after: number;
  /** The first and the last sequence that the commit covers. */
  firstSequence: number;
  lastSequence: number;
  /** The last tick that the commit covers. */
  lastTick: Tick;
  /** Of the files. The table gets it if its own is of a lower version. */
  schema: CollectionSchema;
  files: readonly TableFile[];
  /** All files that the table has of the vchannel are taken out of it; they stay in the store. */
  truncates: boolean;
}

/** What a table says of itself. */
export interface TableDescription {
  /** A UUID. */
  id: string;
  /** When it was created, in milliseconds since 1970. */
  createdMs: number;
  /** The version of its schema. */
  schemaVersion: number;
}

/** How far a table's log has been read. */
export interface TableSnapshot {
  /** The last version; -1 if there is none. */
  version: number;
  /** The last sequence that is in the table, by vchannel. */
  committed: Record<string, number>;
  /** Absent if the table has no version, or if it was kept by an owner that did not know of it. */
  description?: TableDescription;
}

/**
 * A table. Several owners may commit to it at the same time, also two that both hold themselves for
 * the owner of a vchannel: each row counts once all the same.
 */
export interface Table {
  /** As `committed`, as far as is known without asking the store. */
  known(vchannel: string): number;
  /** The last sequence of a vchannel that is in the table; -1: none. */
  committed(vchannel: string, signal: AbortSignal): Promise<number>;
  /**
   * Adds files, and answers how far the vchannel is then. `true` if the files are part of the table;
   * `false` if another owner committed something after `after`, and these files were not added: make
   * others of the rows that are still missing.
   *
   * Throws `CHANNEL_FENCED` if an owner of a higher term has committed. After any other error the
   * same commit may be tried again: one that got through after all is recognised.
   */
  commit(commit: RowCommit, signal: AbortSignal): Promise<boolean>;
  /** How far the log has been read, so that the next owner need not read it all. */
  snapshot(): TableSnapshot;
}
