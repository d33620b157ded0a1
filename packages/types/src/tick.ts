/**
 * Time ticks: 64-bit hybrid timestamps, milliseconds << 18 | counter, as Milvus has them.
 *
 * @module
 */

/** A hybrid timestamp. Compared and added as a bigint. */
export type Tick = bigint;

/** How many ticks one millisecond has. */
export const ticksPerMs = 262_144;

/** The first tick of a millisecond. */
export function tickFromMs(ms: number): Tick {
  return BigInt(Math.floor(ms)) << 18n;
}

/** The wall-clock part of a tick, in milliseconds since 1970. */
export function tickToMs(tick: Tick): number {
  return Number(tick >> 18n);
}

/** A contiguous block of ticks: first, first + 1, .. first + count - 1. */
export interface TickBlock {
  first: Tick;
  count: number;
}

/** Where a node gets ticks from. Over all sources of a cluster, ticks grow and never repeat. */
export interface TickSource {
  /**
   * Takes `count` contiguous ticks (1 to 262144), all greater than `after`.
   * Answers at once when a leased block has room; a promise otherwise.
   */
  take(count: number, after?: Tick): TickBlock | Promise<TickBlock>;
}
