/**
 * Settings that may change while they are in force.
 *
 * @module
 */

/** A setting that stays as it is, or a function that answers what is in force now. Not for functions. */
export type Live<T> = T | (() => T);

/** What reads a setting. Read it where it is used and do not keep what it answers. */
export function readLive<T>(setting: Live<T>): () => T {
  return typeof setting === "function" ? (setting as () => T) : () => setting;
}
