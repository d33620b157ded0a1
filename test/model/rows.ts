/**
 * Rows of small numbers, as states are kept.
 */

/** Swaps what stands at two places of a row. */
export function swap(state: Uint8Array, a: number, b: number, length: number): void {
  for (let i = 0; i < length; i++) {
    const value = state[a + i] as number;
    state[a + i] = state[b + i] as number;
    state[b + i] = value;
  }
}

/** Whether a part of one row stands before a part of another, in the order of their numbers. */
export function isLess(
  left: Uint8Array,
  right: Uint8Array,
  leftAt: number,
  rightAt: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) {
    const difference = (left[leftAt + i] as number) - (right[rightAt + i] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
