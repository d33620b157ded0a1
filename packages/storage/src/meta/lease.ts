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

import { type Clock, MillraceError } from "@millrace/types";
import { type HeldLease, holdLease, leaseLost } from "./hold.ts";
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
  return hold(context, key, content, { etag, start });
}

function hold(
  { name, records, clock }: LeaseContext,
  key: string,
  content: { value: Uint8Array; ttlMs: number },
  first: { etag: string; start: number },
): HeldLease {
  const { ttlMs } = content;
  let { etag } = first;
  // Of renewals whose outcome is not known.
  let unsettled: Uint8Array[] = [];

  const write = async (signal: AbortSignal): Promise<void> => {
    const nonce = records.createNonce();
    unsettled.push(nonce);
    etag = await records.write(key, { ...content, nonce }, etag, signal);
    unsettled = [];
  };
  return holdLease({
    ...{ name, key, ttlMs, start: first.start, clock },
    async renew(signal) {
      try {
        await write(signal);
      } catch (error) {
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
        const found = await records.read(key, signal);
        const nonce = found?.record?.nonce;
        const isOwn = nonce && unsettled.some((own) => own.every((byte, i) => byte === nonce[i]));
        if (found === undefined || !isOwn) throw leaseLost(name, key, "another has taken it");
        // A renewal whose answer was lost. It began some time ago; the time counts from this one.
        etag = found.etag;
        await write(signal);
      }
    },
    giveUp: () => records.bury(key, etag),
  });
}
