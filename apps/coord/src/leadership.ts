/**
 * One active coordinator for each MetaStore.
 *
 * Who holds the lease `coord/active`, whose value is its address, leads. `coord/epoch` counts the leads;
 * what each of them writes is fenced by its epoch.
 *
 * @module
 */

import type { Lease, MetaEntry, MetaStore } from "@millrace/storage";
import { type Clock, delay, type Logger, MillraceError } from "@millrace/types";
import { adoptAll, fenceMeta } from "./fence.ts";

const prefix = "coord/";
const leaseKey = `${prefix}active`;
const epochKey = `${prefix}epoch`;
/** The broadcaster fences its tasks itself, and those of a day are too many to be written anew. */
const except = [leaseKey, epochKey, `${prefix}broadcasts/tasks/`];

/** Options of {@linkcode takeLead}. */
export interface LeadershipOptions {
  meta: MetaStore;
  /** Where this coordinator is reached, for others to be told. Empty: nowhere. */
  address: string;
  /** How long the lease holds without renewal, in milliseconds. */
  leaseMs: number;
  /** No other process can use the store: there is no lease to take, and none to wait for. */
  exclusive: boolean;
  /** Called each time that another one is seen to lead, with its address. Must not throw. */
  onStandby: (address: string) => void;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
}

/** The lead, while it lasts. */
export interface Lead {
  /** Of this lead among all that there were on the store, from 1. */
  readonly epoch: number;
  /** The store. What is written through it after the lead is over changes nothing. */
  readonly meta: MetaStore;
  /** Aborted when the lead is over. */
  readonly signal: AbortSignal;
  /** `true` while no other can lead. It looks at the clock: a process may have stood still. */
  isHeld(): boolean;
  /** Ends it: another one was seen to lead. */
  end(reason: unknown): void;
  /** Gives it up, so that the next one need not wait for the end of the lease. */
  release(): Promise<void>;
}

/** Waits until no other coordinator leads, takes the lead, and makes all that is saved its own. */
export async function takeLead(options: LeadershipOptions): Promise<Lead> {
  const { meta, leaseMs, exclusive, clock, signal } = options;
  const pollMs = Math.min(500, leaseMs / 6);
  const value = new TextEncoder().encode(options.address);
  for (;;) {
    signal.throwIfAborted();
    // Read before the lease is taken: whoever has led meanwhile has changed it.
    const before = await meta.get(epochKey);
    const lease = exclusive
      ? createLocalLease()
      : await meta.lease(leaseKey, { value, ttlMs: leaseMs });
    if (lease) {
      try {
        const lead = await begin(options, lease, before);
        if (lead) return lead;
      } catch (error) {
        await release(lease, options);
        throw error;
      }
      await release(lease, options);
    } else {
      const holder = await meta.get(leaseKey);
      options.onStandby(holder ? new TextDecoder().decode(holder.value) : "");
    }
    await delay(clock, pollMs, signal);
  }
}

async function release(lease: Lease, { logger }: LeadershipOptions): Promise<void> {
  try {
    await lease.release();
  } catch (error) {
    logger.warn("the lead could not be given up, others wait for the end of its lease", { error });
  }
}

/** Begins a lead; `undefined` if another one has begun since `before` was read. */
async function begin(
  options: LeadershipOptions,
  lease: Lease,
  before: MetaEntry | undefined,
): Promise<Lead | undefined> {
  const { meta } = options;
  const last = before ? decodeEpoch(before) : { epoch: 0, since: 1 };
  const epoch = last.epoch + 1;
  let since = last.since;
  let revision = before?.revision ?? null;
  const save = async (): Promise<void> => {
    revision = await meta.put(epochKey, encodeEpoch({ epoch, since }), { expected: revision });
  };
  try {
    await save();
    // Where the store is one's own, no earlier lead can be at work.
    if (!options.exclusive) {
      await adoptAll(meta, { prefix, except, epoch, since });
      since = epoch;
      await save();
    }
  } catch (error) {
    if (MillraceError.is(error, "PRECONDITION_FAILED")) return undefined;
    throw error;
  }
  const over = new AbortController();
  lease.signal.addEventListener("abort", () => over.abort(lease.signal.reason), { once: true });
  if (lease.signal.aborted) over.abort(lease.signal.reason);
  return {
    epoch,
    meta: fenceMeta(meta, {
      ...{ epoch, since, except },
      isCurrent: async () => (await meta.get(epochKey))?.revision === revision,
      onDeposed: (error) => over.abort(error),
    }),
    signal: over.signal,
    isHeld: () => !over.signal.aborted && lease.isHeld(),
    end: (reason) => over.abort(reason),
    release: () => release(lease, options),
  };
}

/** What stands for the lease where there is no other who could want it. */
function createLocalLease(): Lease {
  const ended = new AbortController();
  return {
    signal: ended.signal,
    isHeld: () => !ended.signal.aborted,
    release: async () => ended.abort(new MillraceError("ON_SHUTDOWN", "the lead was given up")),
  };
}

interface Epoch {
  /** Of the last lead. */
  epoch: number;
  /** What leads of lower epochs have written does not count. */
  since: number;
}

function encodeEpoch(epoch: Epoch): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(epoch));
}

function decodeEpoch({ key, value }: MetaEntry): Epoch {
  let decoded: unknown;
  try {
    decoded = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value));
  } catch {
    decoded = undefined;
  }
  const { epoch, since } = (decoded ?? {}) as Partial<Epoch>;
  if (isCount(epoch) && isCount(since)) return { epoch, since };
  throw new MillraceError(
    "DATA_LOSS",
    `the metadata at ${key} does not count coordinators; restore it from a backup`,
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
