/**
 * How a log is opened.
 *
 * @module
 */

import type { Clock, Live, Logger, Random, TickSource } from "@millrace/types";
import type { ThrottleOptions } from "./append/throttle.ts";
import type { Crc32 } from "./crc32.ts";
import type { LogBackend } from "./log.ts";
import type { WalSnapshot } from "./wal.ts";

/** Options of opening a log. */
export interface OpenWalOptions {
  backend: LogBackend;
  pchannel: string;
  /** The owner's term, from 1; higher than all before it. */
  term: number;
  ticks: TickSource;
  /**
   * What a former owner kept. Default: what the backend keeps beside the log, if it does; without either
   * the whole log is replayed.
   */
  snapshot?: WalSnapshot | undefined;
  /** Keeps snapshots beside the log, if the backend can. Default: unless `snapshot` is given. */
  keepSnapshots?: boolean | undefined;
  /**
   * Drives what goes on without appends: time ticks, leases, the age of the tail; and times
   * the stages. Default: ticks and leases move with appends alone, and nothing is timed.
   */
  clock?: Clock | undefined;
  /** Default: nothing is logged. */
  logger?: Logger | undefined;
  /** Ends the opening. */
  signal?: AbortSignal | undefined;
  /**
   * Which vchannels may be written: those that a CREATE_COLLECTION message created (`created`, the
   * default), or `any`.
   */
  vchannels?: "created" | "any" | undefined;
  /** When the segments that inserts belong to are full. Default: inserts belong to no segments. */
  segments?: { rows?: number; bytes?: number; random: Random } | undefined;
  /** How many idempotency keys are remembered. Default 262 144. */
  maxKeys?: number | undefined;
  /** The largest append, in bytes as encoded. Default 16 MiB. */
  maxAppendBytes?: number | undefined;
  /** Appends are gathered into batches of up to this many bytes. Default 4 MiB. */
  maxBatchBytes?: number | undefined;
  /** How many bytes may wait to be written; more is `RESOURCE_EXHAUSTED`. Default 64 MiB. */
  maxWaitingBytes?: number | undefined;
  /** How often the log's time goes on while nothing is appended, in milliseconds. Default 200. */
  tickMs?: number | undefined;
  /** A batch that takes longer is logged, in milliseconds. Default 1000. */
  slowBatchMs?: Live<number> | undefined;
  /** The lease of a transaction that asks for none, in milliseconds, up to 600 000. Default 10 000. */
  txnLeaseMs?: Live<number> | undefined;
  /** The most transactions that may be open. Default 1024. */
  maxOpenTxns?: number | undefined;
  /** The most bytes of open transactions, which readers must hold. Default 64 MiB. */
  maxOpenTxnBytes?: number | undefined;
  /** Limits the rate of inserts and deletes. Needs a clock. Default: no limit. */
  throttle?: Omit<ThrottleOptions, "clock"> | undefined;
  /** How many bytes of the newest batches are kept in memory for readers. Default 64 MiB. */
  tailBytes?: number | undefined;
  /** How long they are kept, in milliseconds. Default 30 000. */
  tailMs?: number | undefined;
  /** Default: the backend's, else the portable one. */
  crc32?: Crc32 | undefined;
}
