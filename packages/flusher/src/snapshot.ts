/**
 * What a flusher must keep so that the next owner's can go on.
 *
 * @module
 */

import type { Tick } from "@millrace/types";
import type { TableSnapshot } from "./table.ts";

/** A flusher's knowledge; rows are not part of it, for the log has them. */
export interface FlusherSnapshot {
  /** All rows of batches before this sequence are in tables: where to read on. */
  sequence: number;
  /** All rows up to this tick are in tables. */
  lastTick: Tick;
  /** The vchannels that exist. */
  vchannels: {
    name: string;
    /** The encoded Collection, with all partitions that the vchannel was told of. */
    collection: Uint8Array;
  }[];
  /** How far the logs of their tables were read. */
  tables: ({ path: string } & TableSnapshot)[];
}
