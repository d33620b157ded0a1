/**
 * Throttle: slows appends down before memory or disk run out.
 *
 * As in Milvus's write-ahead log: under pressure the rate is lowered step by step, near the limit all
 * is refused, and afterwards the rate grows again until nothing holds it back.
 *
 * @module
 */

import { type Clock, type Live, MillraceError, readLive } from "@millrace/types";

/** Options of {@linkcode createThrottle}. */
export interface ThrottleOptions {
  clock: Clock;
  /** The most bytes a second, over a longer time. Default: no limit. */
  bytesPerSecond?: Live<number> | undefined;
  /** How many bytes may come at once. Default 20 MiB. */
  burstBytes?: Live<number> | undefined;
  /**
   * How close the owner is to a limit of its own (memory, what is yet to be flushed): 0 far, 1 there.
   * Asked ten times a second at most. Default: always 0.
   */
  pressure?: (() => number) | undefined;
  /** What pressure does. Default {@linkcode defaultPressureLimits}. */
  pressureLimits?: Live<PressureLimits> | undefined;
}

/** Pressure from which on something is done about it, 0 to 1, the lowest first. */
export interface PressureLimits {
  /** Below this all is well. Default 0.85. */
  recoverBelow: number;
  /** From here on appends are slowed down. Default 0.9. */
  slowAt: number;
  /** From here on they are refused. Default 0.95. */
  rejectAt: number;
}

/** The defaults of {@linkcode PressureLimits}; as in Milvus. */
export const defaultPressureLimits: PressureLimits = {
  recoverBelow: 0.85,
  slowAt: 0.9,
  rejectAt: 0.95,
};

/** How appends are let in. */
export type ThrottleMode = "normal" | "slow" | "reject" | "recovering";

/** Lets appends in at a rate. */
export interface Throttle {
  /** Counts bytes in, or throws `RESOURCE_EXHAUSTED` with a delay. */
  admit(bytes: number): void;
  mode(): ThrottleMode;
}

/** How often pressure is asked for, and the rate is changed, in milliseconds. */
const askMs = 100;
const stepMs = 1000;
/** By how much the rate falls in a step, and grows; it is never lower than the least. */
const fall = 0.8;
const rise = 1.25;
const leastBytesPerSecond = 512 * 1024;
/** The delay that is advised while all is refused, in milliseconds. */
const rejectMs = 1000;

/** Creates a throttle. */
export function createThrottle(options: ThrottleOptions): Throttle {
  const { clock, pressure } = options;
  const most = readLive(options.bytesPerSecond ?? Number.POSITIVE_INFINITY);
  const burst = readLive(options.burstBytes ?? 20 * 1024 * 1024);
  const limits = readLive(options.pressureLimits ?? defaultPressureLimits);
  let mode: ThrottleMode = "normal";
  let rate = most();
  let tokens = burst();
  let filledAt = clock.monotonic();
  let askedAt = Number.NEGATIVE_INFINITY;
  let steppedAt = filledAt;
  /** Bytes let in since the last step, and in the second before it. */
  let recent = 0;
  let before = 0;

  const ask = (now: number): void => {
    if (!pressure || now - askedAt < askMs) return;
    askedAt = now;
    const level = pressure();
    const { recoverBelow, slowAt, rejectAt } = limits();
    if (level >= rejectAt) mode = "reject";
    else if (mode === "reject" && level >= recoverBelow) return;
    else if (level >= slowAt) slowDown();
    else if (mode !== "normal" && level < recoverBelow) recover();
  };

  const slowDown = (): void => {
    if (mode === "slow") return;
    if (rate === Number.POSITIVE_INFINITY) rate = Math.max(before, recent, leastBytesPerSecond);
    mode = "slow";
  };

  const recover = (): void => {
    if (mode === "reject" && rate === Number.POSITIVE_INFINITY) rate = leastBytesPerSecond;
    mode = "recovering";
  };

  const step = (now: number): void => {
    if (now - steppedAt < stepMs) return;
    steppedAt = now;
    const full = Math.max(before, recent) * 2 + leastBytesPerSecond;
    before = recent;
    recent = 0;
    if (mode === "slow") rate = Math.max(leastBytesPerSecond, rate * fall);
    if (mode !== "recovering") return;
    rate *= rise;
    // Nothing is held back any more.
    if (rate < most() && rate < full * 4) return;
    rate = most();
    mode = "normal";
  };

  const refuse = (delayMs: number, why: string): never => {
    const retryAfterMs = Math.min(10_000, Math.max(1, Math.ceil(delayMs)));
    throw new MillraceError("RESOURCE_EXHAUSTED", `${why}; retry in ${retryAfterMs} ms`, {
      retryAfterMs,
    });
  };

  return {
    admit(bytes) {
      const now = clock.monotonic();
      // The limit may have been changed.
      rate = mode === "normal" ? most() : Math.min(rate, most());
      ask(now);
      step(now);
      if (mode === "reject") refuse(rejectMs, "the node is out of memory");
      if (rate < Number.POSITIVE_INFINITY) {
        tokens = Math.min(burst(), tokens + ((now - filledAt) * rate) / 1000);
        filledAt = now;
        // What is let in may leave a debt: an append larger than the burst must get in as well.
        if (tokens <= 0) {
          refuse((-tokens * 1000) / rate + 1, `appends are limited to ${Math.round(rate)} bytes/s`);
        }
        tokens -= bytes;
      } else {
        filledAt = now;
      }
      recent += bytes;
    },
    mode: () => mode,
  };
}
