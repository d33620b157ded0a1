/**
 * Where the shards of a new collection go.
 *
 * @module
 */

import { MillraceError, vchannelName } from "@millrace/types";

/** What {@linkcode allocateVchannels} needs to know. */
export interface VchannelRequest {
  collectionId: bigint;
  /** How many vchannels, 1 to the number of pchannels. */
  shards: number;
  /** All pchannels, in a fixed order, which breaks ties. */
  pchannels: readonly string[];
  /** How many vchannels a pchannel has now; absent: none. */
  load: ReadonlyMap<string, number>;
}

/**
 * The vchannels of a new collection, in shard order: on the pchannels that have fewest vchannels,
 * at most one on each. Throws `INVALID_ARGUMENT` with field `shards` if there are too few pchannels.
 */
export function allocateVchannels(request: VchannelRequest): string[] {
  const { collectionId, shards, pchannels, load } = request;
  if (!Number.isInteger(shards) || shards < 1 || shards > pchannels.length) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `shards must be 1 to ${pchannels.length} (the number of pchannels), got ${shards}`,
      { field: "shards" },
    );
  }
  // Sorting is stable, so the given order breaks ties.
  return [...pchannels]
    .sort((a, b) => (load.get(a) ?? 0) - (load.get(b) ?? 0))
    .slice(0, shards)
    .map((pchannel, shard) => vchannelName(pchannel, collectionId, shard));
}
