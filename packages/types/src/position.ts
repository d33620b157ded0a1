/**
 * Places in a log.
 *
 * @module
 */

/** The place of a message in its pchannel's log: dense, comparable, the same in every backend. */
export interface Position {
  /** Of the batch: 0 to 2^53 - 1, without gaps over the life of the log. */
  sequence: number;
  /** Of the message within its batch, from 0. */
  index: number;
}

/** Negative if `a` is before `b`, positive if after, 0 if they are the same. */
export function comparePositions(a: Position, b: Position): number {
  return a.sequence - b.sequence || a.index - b.index;
}
