/**
 * What the calls of a proxy share.
 *
 * @module
 */

import type { Client } from "@connectrpc/connect";
import {
  backoffDelay,
  type Clock,
  checkName,
  delay,
  type Logger,
  MillraceError,
  type Random,
} from "@millrace/types";
import type { AllocatorService, CatalogService, Collection, Partition } from "@millrace/types/gen";
import type { CatalogCache } from "./catalog-cache.ts";
import type { IdSource } from "./ids.ts";
import type { ProxyLimits } from "./limits.ts";
import type { Owners } from "./owners.ts";
import type { TailMemory } from "./tail-memory.ts";

/** What the calls of a proxy share. */
export interface ProxyContext {
  clock: Clock;
  random: Random;
  logger: Logger;
  /** What is in force now. */
  readonly limits: ProxyLimits;
  owners: Owners;
  collections: CatalogCache;
  ids: IdSource;
  catalog: Client<typeof CatalogService>;
  allocator: Client<typeof AllocatorService>;
  /** Counts bytes of rows that are on their way; `RESOURCE_EXHAUSTED` if there are too many. */
  admit(bytes: number): { release(): void };
  tailMemory: TailMemory;
}

/** Whether a call should look at the catalog anew: what it knows of the collection is out of date. */
const staleCodes = [
  "VCHANNEL_NOT_EXIST",
  "SCHEMA_VERSION_MISMATCH",
  "PARTITION_NOT_FOUND",
] as const;

/**
 * Runs a call with the collection of a name. If the call finds that what was known of it is out of
 * date, runs it once more with the collection as it is now; and while shards have a newer schema than
 * the catalog, as they do for a moment when fields are added, until the catalog has it as well. The
 * call must be safe to repeat.
 */
export async function withCollection<T>(
  context: ProxyContext,
  name: string,
  signal: AbortSignal,
  call: (collection: Collection) => Promise<T>,
): Promise<T> {
  checkName(name, "collection");
  const { clock, collections, limits, random } = context;
  const end = clock.monotonic() + limits.ownerTimeoutMs;
  let collection = await collections.get(name, signal);
  for (let attempt = 0; ; attempt++) {
    try {
      return await call(collection);
    } catch (error) {
      if (!MillraceError.is(error, ...staleCodes)) throw error;
      const isAhead = error.code === "SCHEMA_VERSION_MISMATCH" && clock.monotonic() < end;
      if (attempt > 0 && !isAhead) throw settled(name, error);
    }
    const pause = backoffDelay(attempt - 1, random, { initialMs: 20, maxMs: 1000 });
    if (attempt > 0) await delay(clock, pause, signal);
    collection = await collections.refresh(name, signal);
  }
}

/** What callers are told if the latest of a collection is out of date as well. */
function settled(name: string, error: MillraceError): MillraceError {
  if (error.code !== "VCHANNEL_NOT_EXIST") return error;
  return new MillraceError(
    "COLLECTION_NOT_FOUND",
    `the collection ${name} is gone; it was dropped while the call was under way`,
    { field: "collection", maybeApplied: error.maybeApplied, cause: error },
  );
}

/** The partition of a name. `PARTITION_NOT_FOUND` if there is none. */
export function partitionOf(collection: Collection, name: string): Partition {
  const partition = collection.partitions.find((candidate) => candidate.name === name);
  if (partition) return partition;
  throw new MillraceError(
    "PARTITION_NOT_FOUND",
    `the collection ${collection.name} has no partition ${JSON.stringify(name)}; create it first`,
    { field: "partition" },
  );
}

const maxKeyBytes = 256;

/**
 * The idempotency key of a write: the caller's, apart from those of other kinds of writes, or one of
 * the call's own, so that a retry within the proxy never writes twice.
 */
export function idempotencyKey(kind: string, given: string, random: Random): string {
  if (given === "") return `own:${hex(random.bytes(16))}`;
  const length = new TextEncoder().encode(given).length;
  if (length > maxKeyBytes) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `idempotency_key has ${length} bytes; at most ${maxKeyBytes} are allowed`,
      { field: "idempotency_key" },
    );
  }
  return `${kind}:${given}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
