/**
 * World: what the owners and readers of one random history of a Wal share.
 *
 * @module
 */

import type { Random, Tick, TickSource } from "@millrace/types";
import type { VirtualClock } from "@millrace/types/testing";
import type { LogBackend } from "../log.ts";
import type { Wal, WalSnapshot } from "../wal.ts";
import { chance, pick } from "./chance.ts";
import { createStage, type Stage } from "./stage.ts";
import { nextTurns } from "./turns.ts";

/** Options of a random history of a Wal. */
export interface WalHistoryOptions {
  pchannel: string;
  /** Backends over the same storage, as several processes would have them. */
  backends: readonly LogBackend[];
  random: Random;
  clock: VirtualClock;
  /** Vchannels are created before they are written, and inserts belong to segments. */
  segments: boolean;
  /** Makes appends be refused for lack of room until the function that it answers is called. */
  fill?: (() => Promise<() => void> | (() => void)) | undefined;
}

/** A transaction that was begun by somebody. */
export interface KnownTxn {
  txn: Tick;
  vchannel: string;
}

/** An append that may be made again: what has to be the same. */
export interface Retry {
  names: readonly string[];
  key: string;
  vchannel: string;
  txn: Tick;
}

/** A place behind a delivery, with the filter of the reader that got it. */
export interface ReadPlace {
  tick: Tick;
  resume: number;
  vchannel: string | undefined;
  /** What was begun before this sequence, the reader has left out. */
  since: number;
}

/** What owners and readers share. */
export interface World extends WalHistoryOptions, Stage {
  ticks: TickSource;
  /** The last tick that was given to anybody. */
  lastTick(): Tick;
  /** Lets this many milliseconds of ticks pass. */
  passTime(ms: number): void;
  wals: Wal[];
  /** The highest term that was opened. */
  highestOpen: number;
  txns: KnownTxn[];
  retries: Retry[];
  /** What owners have kept. */
  snapshots: WalSnapshot[];
  /** What is before this may be gone; a snapshot that ends before it is of no use any more. */
  truncatedTo: number;
  places: ReadPlace[];
  ops: number;
  messages: number;
  readers: number;
}

/** How many rows a segment takes, if there are segments. An insert has one. */
export const segmentRows = 7;

/** The vchannels that are written to. */
export const vchannels: readonly string[] = ["a", "b", "c"];

/** Creates a world in which nothing has happened. */
export function createWorld(options: WalHistoryOptions): World {
  const { random } = options;
  let last: Tick = 1_000n << 18n;
  const take: TickSource["take"] = (count, after = 0n) => {
    if (last < after) last = after;
    const block = { first: last + 1n, count };
    last += BigInt(count);
    // As a node has it: mostly at once, sometimes from the coordinator.
    return chance(random, 0.2) ? nextTurns(1).then(() => block) : block;
  };
  return {
    ...options,
    ...createStage(),
    ticks: { take },
    lastTick: () => last,
    passTime(ms) {
      last += BigInt(ms) << 18n;
    },
    wals: [],
    highestOpen: 0,
    txns: [],
    retries: [],
    snapshots: [],
    truncatedTo: 0,
    places: [],
    ops: 0,
    messages: 0,
    readers: 0,
  };
}

/** One of the backends. */
export function anyBackend({ random, backends }: World): LogBackend {
  return pick(random, backends) as LogBackend;
}
