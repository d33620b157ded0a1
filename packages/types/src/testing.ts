/**
 * Time and randomness for tests: a clock that moves only when it is told to, and randomness from a
 * seed.
 *
 * @module
 */

import type { Clock, Random } from "./runtime.ts";

/** A {@linkcode Clock} that stands still until it is advanced. */
export interface VirtualClock extends Clock {
  /**
   * Moves time on by `ms`. Runs the timers that come due, in the order of their times (equal times: in
   * the order in which they were scheduled), and lets pending promises settle before, between and
   * after them. Timers that a callback schedules within the span run too. One call at a time.
   */
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, forward or back, as an operator or NTP would. */
  jump(ms: number): void;
  /** How many timers wait. */
  readonly pending: number;
}

/** Options of {@linkcode createVirtualClock}. */
export interface VirtualClockOptions {
  /** The wall clock at the start, in milliseconds since 1970. Default 1700000000000. */
  now?: number;
  /** How often the microtask queue is given a turn between timers. Default 64. */
  turns?: number;
}

interface Timer {
  at: number;
  callback: () => void;
}

/**
 * A clock that stands still until it is advanced.
 *
 * @example
 * ```ts
 * const clock = createVirtualClock();
 * const done = delay(clock, 1000);
 * await clock.advance(1000);
 * await done;
 * ```
 */
export function createVirtualClock(options: VirtualClockOptions = {}): VirtualClock {
  const { turns = 64 } = options;
  let wallStart = options.now ?? 1_700_000_000_000;
  let elapsed = 0;
  let advancing = false;
  // In the order of scheduling, so that the first of the earliest is the one to run.
  const timers = new Set<Timer>();

  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < turns; turn++) await undefined;
  };

  const nextUntil = (end: number): Timer | undefined => {
    let next: Timer | undefined;
    for (const timer of timers) {
      if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
    }
    return next;
  };

  return {
    now: () => wallStart + elapsed,
    monotonic: () => elapsed,
    schedule(ms, callback) {
      const timer: Timer = { at: elapsed + Math.max(0, ms), callback };
      timers.add(timer);
      return () => {
        timers.delete(timer);
      };
    },
    async advance(ms) {
      if (advancing) throw new Error("the clock is being advanced already; await that call first");
      advancing = true;
      try {
        const end = elapsed + ms;
        await settle();
        for (let timer = nextUntil(end); timer !== undefined; timer = nextUntil(end)) {
          timers.delete(timer);
          elapsed = timer.at;
          timer.callback();
          await settle();
        }
        elapsed = end;
      } finally {
        advancing = false;
      }
    },
    jump(ms) {
      wallStart += ms;
    },
    get pending() {
      return timers.size;
    },
  };
}

/** Randomness that is the same for the same seed (xoshiro128**). Not for secrets. */
export function createSeededRandom(seed: number): Random {
  // Seeds that differ in one bit must not give similar streams: spread them by splitmix32.
  let state = seed | 0;
  const spread = (): number => {
    state = (state + 0x9e3779b9) | 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return z ^ (z >>> 16);
  };
  let a = spread();
  let b = spread();
  let c = spread();
  let d = spread();

  const word = (): number => {
    const scrambled = Math.imul(b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };

  return {
    next: () => word() / 2 ** 32,
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i++) bytes[i] = word() >>> 24;
      return bytes;
    },
  };
}
