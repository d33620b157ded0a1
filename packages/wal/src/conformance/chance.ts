/**
 * Dice, from what randomness is handed in.
 *
 * @module
 */

import type { Random } from "@millrace/types";

/** A whole number from 0 to below `limit`. */
export function below(random: Random, limit: number): number {
  return Math.floor(random.next() * limit);
}

/** `true` with this probability. */
export function chance(random: Random, probability: number): boolean {
  return random.next() < probability;
}

/** One of these; `undefined` of none. */
export function pick<T>(random: Random, items: readonly T[]): T | undefined {
  return items[below(random, items.length)];
}
