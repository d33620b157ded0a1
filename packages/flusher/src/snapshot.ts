/**
 * What a flusher must keep so that the next owner's can go on.
 *
 * @module
 */

import type { Tick } from "@millrace/types";
import type { TableSnapshot } from "./table.ts";

/** A flusher's knowledge; rows are not part of it, for the log has them. */
export interface FlusherSnapshot {
  /**
   * Where to read on: all rows of batches before this sequence are in tables. Of what is behind it, the
   * tables may have a part, by the place where it counts; `tables` and the tables themselves say which.
   */
  sequence: number;
  /** All rows that count up to this tick are in tables. */
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
