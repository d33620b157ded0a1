/**
 * What one proxy takes.
 *
 * @module
 */

/** Limits of a proxy; each has a default. */
export interface ProxyLimits {
  /** The rows of one Insert, in bytes as columns. Default 64 MiB. */
  maxInsertBytes: number;
  /** One row, in bytes as columns. Default 2 MiB. */
  maxRowBytes: number;
  /** Rows are gathered into messages of about this many bytes. Default 2 MiB. */
  messageBytes: number;
  /** The rows of all calls that wait for their logs; more is `RESOURCE_EXHAUSTED`. Default 256 MiB. */
  maxInFlightBytes: number;
  /** The keys of one Delete. Default 100000. */
  maxDeleteKeys: number;
  /** How long a call waits for a channel that moves, in milliseconds. Default 30000. */
  ownerTimeoutMs: number;
  /** What one Tail reads ahead of its client, in bytes. Default 8 MiB. */
  tailBytes: number;
  /**
   * What all Tails hold of transactions that are open, in bytes; a Tail that would need more fails with
   * `RESOURCE_EXHAUSTED`. Default 256 MiB.
   */
  tailTxnBytes: number;
  /** How many collections are kept in memory. Default 4096. */
  maxCollections: number;
}

const mib = 1024 * 1024;

/** The limits with their defaults filled in. */
export function proxyLimits(limits: Partial<ProxyLimits> = {}): ProxyLimits {
  return {
    maxInsertBytes: 64 * mib,
    maxRowBytes: 2 * mib,
    messageBytes: 2 * mib,
    maxInFlightBytes: 256 * mib,
    maxDeleteKeys: 100_000,
    ownerTimeoutMs: 30_000,
    tailBytes: 8 * mib,
    tailTxnBytes: 256 * mib,
    maxCollections: 4096,
    ...limits,
  };
}
