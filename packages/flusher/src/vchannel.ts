/**
 * What a flusher knows of a vchannel: its collection, what grows, and what is on its way to the table.
 *
 * @module
 */

import type { Tick } from "@millrace/types";
import type { Collection, CollectionSchema } from "@millrace/types/gen";
import type { SealLimits } from "./seal.ts";
import type { RowRange } from "./segment.ts";
import type { Table, TableFile } from "./table.ts";

/** Files that were uploaded for the rows behind a sequence. */
export interface UploadedFiles {
  /** What the table had when they were made. */
  after: number;
  /** Of their rows. */
  schema: CollectionSchema;
  /** By partition id. Not all of them yet, while the upload is under way. */
  files: Map<bigint, TableFile>;
}

/** A sealed range on its way to the table. */
export interface FlushJob {
  vchannel: VchannelState;
  range: RowRange;
  /** It has no rows: all that the table has of the vchannel is to go. */
  truncates: boolean;
  uploaded: UploadedFiles | undefined;
  /** It is being worked on. */
  running: boolean;
  /** How often it has failed. */
  failures: number;
  /** When to try again, on the monotonic clock. */
  retryAt: number;
  /** Why it failed last; empty if it has not. */
  problem: string;
}

/** The state of a vchannel. */
export interface VchannelState {
  readonly name: string;
  /** As its creation says, with the partitions and the fields that were added since. */
  collection: Collection;
  table: Table;
  /** In force now. */
  limits: () => SealLimits;
  /** Rows that may grow on; absent if there are none. */
  growing: RowRange | undefined;
  /** When the first and the last of them were read, on the monotonic clock. */
  since: number;
  touched: number;
  /** Sealed ranges, oldest first. The first one may be under way. */
  jobs: FlushJob[];
  /** The collection was dropped: what is under way comes to nothing. */
  dropped: boolean;
  /** What the table had before this owner's first commit; absent before it. */
  inherited: number | undefined;
  /** Files that earlier owners left over were removed. */
  cleaned: boolean;
}

/** The first range that is not in the table; `undefined` if all rows are. */
export function firstUnflushed(vchannel: VchannelState): RowRange | undefined {
  return vchannel.jobs[0]?.range ?? vchannel.growing;
}

/** Up to which tick all rows are in the table, if the log was read up to `consumed`. */
export function checkpointOf(vchannel: VchannelState, consumed: Tick): Tick {
  const first = firstUnflushed(vchannel);
  return first === undefined ? consumed : first.firstTick - 1n;
}

/** The name of a partition, or `undefined` if the vchannel has not been told of it. */
export function partitionName(vchannel: VchannelState, id: bigint): string | undefined {
  return vchannel.collection.partitions.find((partition) => partition.id === id)?.name;
}
