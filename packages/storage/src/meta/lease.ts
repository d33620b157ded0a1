/**
 * Leases by compare-and-set on objects.
 *
 * Nobody compares wall clocks. The holder writes its record anew, with a new etag, a few times within
 * the lease's time, and counts from the moment it began the last write that succeeded. Who wants the
 * lease counts from the moment it first saw an etag, which is later: so by its count the time is over
 * only after it is over for the holder.
 *
 * @module
 */

import { type Clock, delay, MillraceError } from "@millrace/types";
import type { Lease } from "../meta-store.ts";
import type { Records } from "./records.ts";

/** What the store's leases share. */
export interface LeaseContext {
  /** For messages. */
  name: string;
  records: Records;
  clock: Clock;
}

/** What this store last saw of leases that others hold. */
export type Observations = Map<string, { etag: string; since: number }>;

/** A lease and how its store ends it. */
export interface HeldLease extends Lease {
  /** Ends it without telling the medium. */
  drop(reason: unknown): Promise<void>;
}

/** Takes a lease if it is free, given up, or was not renewed in its time. */
export async function takeLease(
  context: LeaseContext,
  key: string,
  content: { value: Uint8Array; ttlMs: number },
  observations: Observations,
): Promise<HeldLease | undefined> {
  const { records, clock } = context;
  const found = await records.read(key);
  if (found?.record !== undefined && found.record.ttlMs > 0) {
    const seen = observations.get(key);
    if (seen?.etag !== found.etag) {
      observations.set(key, { etag: found.etag, since: clock.monotonic() });
      return undefined;
    }
    if (clock.monotonic() - seen.since < found.record.ttlMs) return undefined;
  }
  observations.delete(key);
  const start = clock.monotonic();
  let etag: string;
  try {
    etag = await records.write(key, content, found?.etag ?? null);
  } catch (error) {
    if (MillraceError.is(error, "PRECONDITION_FAILED")) return undefined;
    throw error;
  }
  return holdLease(context, key, content, { etag, start });
}

function holdLease(
  context: LeaseContext,
  key: string,
  content: { value: Uint8Array; ttlMs: number },
  first: { etag: string; start: number },
): HeldLease {
  const { name, records, clock } = context;
  const { ttlMs } = content;
  const ended = new AbortController();
  let etag = first.etag;
  let cancel: () => void = () => undefined;

  const end = (reason: unknown): void => {
    cancel();
    ended.abort(reason);
  };
  const lost = (why: string): MillraceError =>
    new MillraceError("PRECONDITION_FAILED", `${name}: the lease ${key} is lost: ${why}`);
  // A tenth early, for clocks that do not run alike and timers that come late.
  const holdUntil = (start: number): void => {
    cancel();
    const left = start + ttlMs * 0.9 - clock.monotonic();
    const expire = (): void => end(lost("it could not be renewed in time"));
    if (left <= 0) expire();
    else cancel = clock.schedule(left, expire);
  };

  const renew = async (): Promise<void> => {
    const start = clock.monotonic();
    try {
      etag = await records.write(key, content, etag);
      if (!ended.signal.aborted) holdUntil(start);
    } catch (error) {
      if (MillraceError.is(error, "PRECONDITION_FAILED")) end(lost("another has taken it"));
      else if (!MillraceError.is(error)) end(error);
      // Else the store has trouble: the next renewal may succeed before the time is over.
    }
  };
  const keepRenewing = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      const isOver = await delay(clock, ttlMs / 3, ended.signal).then(
        () => false,
        () => true,
      );
      if (!isOver) await renew();
    }
  };

  holdUntil(first.start);
  const renewing = keepRenewing();
  return {
    signal: ended.signal,
    async release() {
      if (ended.signal.aborted) return;
      end(new MillraceError("PRECONDITION_FAILED", `${name}: the lease ${key} was released`));
      // A renewal under way decides which etag is to be replaced.
      await renewing;
      try {
        await records.bury(key, etag);
      } catch (error) {
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
      }
    },
    async drop(reason) {
      end(reason);
      await renewing;
    },
  };
}
