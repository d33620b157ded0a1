/**
 * The message types that a log itself knows, and what sets them apart.
 *
 * Numbers are those of `MessageType` of millrace.v1. Types that are not listed are carried: a log may
 * be used for messages of one's own.
 *
 * @module
 */

/** Everything with a lower tick is in the log. Written by the owner alone. */
export const timeTick = 1;
/** Rows. */
export const insert = 2;
/** Keys of rows that are to go. */
export const remove = 3;
/** A vchannel begins. */
export const createCollection = 5;
/** A vchannel ends. */
export const dropCollection = 6;
/** Rows may be of another partition. */
export const createPartition = 7;
/** No rows may be of a partition any more. */
export const dropPartition = 8;
/** Rows before it are to be flushed. */
export const manualFlush = 9;
/** Inserts that follow belong to another segment. Written by the owner alone. */
export const createSegment = 10;
/** Rows have another schema. */
export const alterCollection = 13;
/** Rows before it are to go. */
export const truncateCollection = 38;
/** A transaction begins. */
export const beginTxn = 900;
/** A transaction counts. */
export const commitTxn = 901;
/** A transaction is given up. */
export const rollbackTxn = 902;

const exclusive: ReadonlySet<number> = new Set([
  createCollection,
  dropCollection,
  createPartition,
  dropPartition,
  manualFlush,
  alterCollection,
  truncateCollection,
]);

/**
 * `true` if nothing else of the vchannel may be on its way with it: what is admitted after it must find
 * its effect, and transactions that are open before it are rolled back.
 */
export function isExclusive(type: number): boolean {
  return exclusive.has(type);
}

/** `true` if only the owner of a log writes such messages. */
export function isSelfControlled(type: number): boolean {
  return type === timeTick || type === createSegment || isTxnControl(type);
}

/** `true` if the message begins or ends a transaction. */
export function isTxnControl(type: number): boolean {
  return type === beginTxn || type === commitTxn || type === rollbackTxn;
}

/** `true` if a log's own state depends on such messages, and not only on their keys and transactions. */
export function changesState(type: number): boolean {
  return isExclusive(type) || isTxnControl(type) || type === createSegment;
}

/** `true` if an append of this type must be an append of its own. */
export function standsAlone(type: number): boolean {
  return isExclusive(type) || isSelfControlled(type);
}

/** `true` for rows and keys of rows: what the rate limits are for. */
export function isData(type: number): boolean {
  return type === insert || type === remove;
}
