/**
 * Store: what the peers have in common.
 *
 * @module
 */

/** A store that records are put into. */
export interface Store {
  /** Puts `count` records in one transaction and answers when it is on disk. */
  commit(count: number, record: Uint8Array): Promise<void> | void;
  close(): Promise<void>;
}
