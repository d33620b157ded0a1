/**
 * Settings that may change while they are in use.
 *
 * @module
 */

/** A value, or a function that answers what it is at this moment. */
export type Live<T> = T | (() => T);

/** A function that answers what a setting is at this moment. The value is not itself a function. */
export function readLive<T>(setting: Live<T>): () => T {
  return typeof setting === "function" ? (setting as () => T) : () => setting;
}
