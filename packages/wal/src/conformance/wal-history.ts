/**
 * Random histories of a Wal: everything that its users can do, at owners that take over from each other
 * at random moments, some of which die without a word.
 *
 * @module
 */

import { MillraceError, type Random } from "@millrace/types";
import { openWal } from "../open-wal.ts";
import type { Wal, WalSnapshot } from "../wal.ts";
import type { OpenWalOptions } from "../wal-options.ts";
import { below, chance, pick } from "./chance.ts";
import type { HistoryEvent } from "./history.ts";
import { nextTurns } from "./turns.ts";
import { readAll, readAllBeside, readAllBatches, readBeside, readSome } from "./wal-readers.ts";
import { createWalUser } from "./wal-user.ts";
import {
  anyBackend,
  createWorld,
  segmentRows,
  type WalHistoryOptions,
  type World,
} from "./wal-world.ts";

/** Lets it happen, and answers what was done and seen. Takes a fraction of a second. */
export async function runWalHistory(options: WalHistoryOptions): Promise<readonly HistoryEvent[]> {
  const world = createWorld(options);
  const { random, clock } = world;
  let term = 0;
  for (let owners = 1 + below(random, 4); owners > 0 && !world.stopping(); owners--) {
    term += 1 + below(random, 3);
    world.own(own(world, term));
    if (chance(random, 0.5)) world.read(readBeside(world));
    for (let pauses = below(random, 6); pauses >= 0; pauses--) {
      await world.progress(below(random, 80));
      const ms = below(random, 150);
      world.passTime(ms);
      await clock.advance(ms);
    }
  }
  await world.finish();
  await readAtLast(world, term + 100);
  for (const wal of world.wals) await wal.close();
  return world.history;
}

/** Opens the log, lets users at it for a while, and goes in one way or another. */
async function own(world: World, term: number): Promise<void> {
  const { random } = world;
  const wal = await open(world, term);
  if (!wal) return;
  const source = { log: wal, term, ended: () => wal.signal.aborted };
  const user = createWalUser(world, wal);
  if (world.segments) user.createVchannels();
  const reading: Promise<void>[] = [];
  const steps = chance(random, 0.6) ? below(random, 100) : 400;
  for (let i = 0; i < steps && !wal.signal.aborted && !world.stopping(); i++) {
    await user.step();
    if (chance(random, 0.3)) await nextTurns(below(random, 3));
    if (chance(random, 0.04) && reading.length < 8) reading.push(readSome(world, source));
    if (chance(random, 0.03)) world.snapshots.push(wal.snapshot());
    if (chance(random, 0.02)) await truncate(world, wal);
  }
  // The rest of the owners die: they let go of nothing and hear of nothing.
  if (chance(random, 0.5)) {
    if (chance(random, 0.5)) await user.settled();
    await wal.close();
  }
  await Promise.all(reading);
}

async function open(world: World, term: number): Promise<Wal | undefined> {
  const { tell, random, pchannel, ticks, clock } = world;
  tell({ kind: "open", term });
  const options: OpenWalOptions = {
    backend: anyBackend(world),
    pchannel,
    term,
    ticks,
    ...(world.segments
      ? { vchannels: "created", segments: { rows: segmentRows, random } }
      : { vchannels: "any" }),
    snapshot: chooseSnapshot(world),
    clock: chance(random, 0.5) ? clock : undefined,
    // So small that readers fall back to the log, batches are several, and users are refused.
    tailBytes: anyOf(random, [0, 1000, undefined]),
    maxBatchBytes: anyOf(random, [300, 2000, undefined]),
    maxWaitingBytes: anyOf(random, [1000, undefined]),
    maxOpenTxns: anyOf(random, [2, undefined]),
    maxOpenTxnBytes: anyOf(random, [100, undefined]),
  };
  try {
    const wal = await openWal(options);
    world.wals.push(wal);
    world.highestOpen = Math.max(world.highestOpen, term);
    tell({ kind: "opened", term });
    return wal;
  } catch (error) {
    if (MillraceError.is(error, "CHANNEL_FENCED", "RESOURCE_EXHAUSTED")) return undefined;
    // A former owner has truncated the log since the snapshot was chosen.
    const isStale = (options.snapshot?.sequence ?? 0) < world.truncatedTo;
    if (isStale && MillraceError.is(error, "DATA_LOSS", "OUT_OF_RANGE")) return undefined;
    throw error;
  }
}

function anyOf<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)] as T;
}

/** Any that may still be used; none if nothing is gone yet, or if the log keeps its own. */
function chooseSnapshot({ random, snapshots, truncatedTo }: World): WalSnapshot | undefined {
  const usable = snapshots.filter(({ sequence }) => sequence >= truncatedTo);
  if (truncatedTo === 0 && chance(random, 0.5)) return undefined;
  return pick(random, usable);
}

async function truncate(world: World, wal: Wal): Promise<void> {
  const { tell, random } = world;
  const { term } = wal;
  const source = { log: wal, term, ended: () => wal.signal.aborted };
  const snapshot = wal.snapshot();
  world.snapshots.push(snapshot);
  // So that nothing goes that nobody saw.
  if (!(await readAllBatches(world, source))) return;
  const { first } = wal.bounds();
  const before = first + below(random, Math.max(0, snapshot.sequence - first) + 1);
  world.truncatedTo = Math.max(world.truncatedTo, before);
  tell({ kind: "truncate", term, before });
  try {
    await wal.truncate(before);
  } catch (error) {
    const expected = ["CHANNEL_FENCED", "ON_SHUTDOWN", "RESOURCE_EXHAUSTED"] as const;
    if (!MillraceError.is(error, ...expected)) throw error;
  }
}

/** The last owner, and a reader beside it, see all there is. */
async function readAtLast(world: World, term: number): Promise<void> {
  const wal = await open(world, term);
  if (!wal) throw new Error(`term ${term} was refused, though no other is as high`);
  await readAll(world, { log: wal, term, ended: () => wal.signal.aborted });
  await readAllBeside(world);
}
