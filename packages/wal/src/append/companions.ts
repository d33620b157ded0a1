/**
 * Companions: messages of the log's own that must stand right before an append, in the same batch, or
 * not at all.
 *
 * @module
 */

import type { BatchAppend } from "../encode.ts";
import type { RecordBatch } from "../record-batch.ts";

/** What goes with an append. */
export interface Companions {
  /** Of one message each. */
  readonly appends: readonly BatchAppend[];
  /** They stand in the log, from message `index` of the batch on. */
  committed(batch: RecordBatch, index: number): void;
  /** They do not. */
  failed(): void;
}
