/**
 * Holding a lease: renewing it in time, and knowing when it is over.
 *
 * The holder counts from the moment it began the last renewal that succeeded. Whoever ends the lease
 * counts from when that renewal arrived, which is later: so the holder gives up first.
 *
 * @module
 */

import { type Clock, delay, MillraceError, withTimeLimit } from "@millrace/types";
import type { Lease } from "../meta-store.ts";

/** A lease and how its store ends it. */
export interface HeldLease extends Lease {
  /** Ends it without telling the medium. */
  drop(reason: unknown): Promise<void>;
}

/** Options of {@linkcode holdLease}. */
export interface HoldOptions {
  /** Of the store, for messages. */
  name: string;
  key: string;
  /** How long it holds without renewal, in milliseconds. */
  ttlMs: number;
  /** When it was begun to be taken, on the monotonic clock. */
  start: number;
  clock: Clock;
  /** Renews it. `PRECONDITION_FAILED`: it is lost. Any other MillraceError: it may still succeed. */
  renew: (signal: AbortSignal) => Promise<void>;
  /** Gives it up. `PRECONDITION_FAILED`: it has ended already. */
  giveUp: () => Promise<void>;
}

// A tenth early, for clocks that do not run alike and timers that come late.
const heldPart = 0.9;

/** The error of a lease that has ended against its holder's will. */
export function leaseLost(name: string, key: string, why: string): MillraceError {
  return new MillraceError("PRECONDITION_FAILED", `${name}: the lease ${key} is lost: ${why}`);
}

/**
 * Renews a lease that was taken, until it is lost, released or dropped. Throws `UNAVAILABLE` if its
 * time is over already.
 */
export function holdLease(options: HoldOptions): HeldLease {
  const { name, key, ttlMs, clock } = options;
  const ended = new AbortController();
  // A renewal under way is stopped when the lease is lost, but not when it is released: its outcome
  // decides what there is to be given up.
  const stopped = new AbortController();
  let cancel: () => void = () => undefined;
  let heldUntil = 0;

  const end = (reason: unknown): void => {
    cancel();
    ended.abort(reason);
  };
  const lose = (reason: unknown): void => {
    end(reason);
    stopped.abort(reason);
  };
  const holdUntil = (start: number): void => {
    cancel();
    heldUntil = start + ttlMs * heldPart;
    const left = heldUntil - clock.monotonic();
    const expire = (): void => lose(leaseLost(name, key, "it could not be renewed in time"));
    if (left <= 0) expire();
    else cancel = clock.schedule(left, expire);
  };

  /** Renews it, and answers how long to wait before the next time. */
  const renew = async (): Promise<number> => {
    const start = clock.monotonic();
    try {
      // What does not answer by then is better asked again while there is time.
      await withTimeLimit(clock, ttlMs / 3, stopped.signal, options.renew);
      if (!ended.signal.aborted) holdUntil(start);
      return ttlMs / 3;
    } catch (error) {
      const isLost = !MillraceError.is(error) || error.code === "PRECONDITION_FAILED";
      if (isLost && !ended.signal.aborted) lose(error);
      // Else the store has trouble: the next renewal may succeed before the time is over.
      return ttlMs / 20;
    }
  };
  const keepRenewing = async (): Promise<void> => {
    let waitMs = ttlMs / 3;
    while (!ended.signal.aborted) {
      const isOver = await delay(clock, waitMs, ended.signal).then(
        () => false,
        () => true,
      );
      if (!isOver) waitMs = await renew();
    }
  };

  const tookMs = clock.monotonic() - options.start;
  if (tookMs >= ttlMs * heldPart) {
    throw new MillraceError(
      "UNAVAILABLE",
      `${name}: the lease ${key} is over: it took ${Math.round(tookMs)} ms to take it; ask again`,
    );
  }
  holdUntil(options.start);
  const renewing = keepRenewing();
  return {
    signal: ended.signal,
    isHeld: () => !ended.signal.aborted && clock.monotonic() < heldUntil,
    async release() {
      if (ended.signal.aborted) return;
      end(new MillraceError("PRECONDITION_FAILED", `${name}: the lease ${key} was released`));
      await renewing;
      try {
        await options.giveUp();
      } catch (error) {
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
      }
    },
    async drop(reason) {
      lose(reason);
      await renewing;
    },
  };
}
