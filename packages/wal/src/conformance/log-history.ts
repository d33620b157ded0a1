/**
 * Random histories of a log: owners that take over from each other at random moments, some of which
 * die without a word, and readers before, during and after their writes.
 *
 * @module
 */

import { MillraceError, type Random, type Tick } from "@millrace/types";
import { encodeBatch } from "../encode.ts";
import type { Log, LogBackend, LogReader } from "../log.ts";
import type { RecordBatch } from "../record-batch.ts";
import { below, chance } from "./chance.ts";
import type { HistoryEvent, ReadEvent, SeenBatch } from "./history.ts";
import { createStage, type Stage } from "./stage.ts";
import { nextTurns } from "./turns.ts";

/** Options of {@linkcode runLogHistory}. */
export interface LogHistoryOptions {
  pchannel: string;
  /** Backends over the same storage, as several processes would have them. */
  backends: readonly LogBackend[];
  random: Random;
  /** Makes appends be refused for lack of room until the function that it answers is called. */
  fill?: (() => Promise<() => void> | (() => void)) | undefined;
}

/** What owners and readers share. */
interface World extends LogHistoryOptions, Stage {
  /** Logs to be closed in the end. */
  logs: LogReader[];
  lastTick: Tick;
  /** The highest term that was opened. */
  highestOpen: number;
  ops: number;
  messages: number;
  readers: number;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Lets it happen, and answers what was done and seen. Takes a fraction of a second. */
export async function runLogHistory(options: LogHistoryOptions): Promise<readonly HistoryEvent[]> {
  const { random } = options;
  const world: World = {
    ...options,
    ...createStage(),
    logs: [],
    lastTick: 0n,
    highestOpen: 0,
    ops: 0,
    messages: 0,
    readers: 0,
  };
  let term = 0;
  for (let owners = 2 + below(random, 5); owners > 0 && !world.stopping(); owners--) {
    term += 1 + below(random, 3);
    world.own(own(world, term));
    // Someone who is late, or comes twice.
    if (chance(random, 0.2)) world.own(own(world, Math.max(1, term - below(random, 2))));
    if (chance(random, 0.7)) world.read(follow(world));
    await world.progress(below(random, 150));
  }
  await world.finish();
  await readAtLast(world, term + 100);
  for (const log of world.logs) await log.close();
  return world.history;
}

function anyBackend({ backends, random }: World): LogBackend {
  return backends[below(random, backends.length)] as LogBackend;
}

/** Opens the log, reads what it holds, writes for a while, and goes in one way or another. */
async function own(world: World, term: number): Promise<void> {
  const { random } = world;
  const log = await open(world, term);
  if (!log) return;
  const previous = await readChecksum(world, log);
  if (previous === undefined) return;
  const writer = createWriter(world, log, previous);
  const writes = chance(random, 0.6) ? below(random, 30) : 200;
  for (let i = 0; i < writes && !writer.failed() && !world.stopping(); i++) {
    await writer.write();
    if (chance(random, 0.4)) await nextTurns(below(random, 4));
    if (chance(random, 0.05)) await readSome(world, log, `owner ${term}`);
    if (chance(random, 0.05)) await truncate(world, log);
    if (chance(random, 0.03)) await writer.runOutOfRoom();
  }
  // The rest of the owners die: they let go of nothing and hear of nothing.
  if (!chance(random, 0.5)) return;
  await writer.settled();
  await log.close();
}

/** As every owner does, reads the log: what comes next continues its last batch. */
async function readChecksum(world: World, log: Log): Promise<number | undefined> {
  const { next } = log.bounds();
  if (next === 0) return 0;
  let last: RecordBatch | undefined;
  await read(world, log, `owner ${log.term} at its start`, log.bounds().first, (batch) => {
    last = batch;
  });
  // Else a later owner has truncated the log meanwhile.
  return last?.sequence === next - 1 ? last.checksum : undefined;
}

async function open(world: World, term: number): Promise<Log | undefined> {
  const { tell, pchannel } = world;
  tell({ kind: "open", term });
  try {
    const log = await anyBackend(world).open(pchannel, term);
    world.highestOpen = Math.max(world.highestOpen, term);
    tell({ kind: "opened", term, next: log.bounds().next });
    world.logs.push(log);
    return log;
  } catch (error) {
    if (MillraceError.is(error, "CHANNEL_FENCED", "RESOURCE_EXHAUSTED")) return undefined;
    throw error;
  }
}

/** Reads from a place to the end, and writes down what it sees. */
async function read(
  world: World,
  log: LogReader,
  who: string,
  sequence: number,
  see: (batch: RecordBatch) => void = () => undefined,
): Promise<void> {
  const { tell, random } = world;
  const reader = `${who} (${world.readers++})`;
  const request: ReadEvent = { kind: "read", reader, view: "batches", from: { sequence } };
  tell(request);
  // What a later owner has acknowledged, a former one need not know.
  const isCurrent = !("term" in log) || (log.term as number) >= world.highestOpen;
  try {
    for await (const batch of log.read(sequence)) {
      tell({ kind: "batch", reader, batch: seen(batch) });
      see(batch);
      if (chance(random, 0.02)) await nextTurns(3);
    }
    if (isCurrent) tell({ kind: "complete", reader });
  } catch (error) {
    if (!MillraceError.is(error, "OUT_OF_RANGE")) throw error;
    tell({ kind: "out-of-range", reader, first: Number(error.expected) });
  }
}

function seen(batch: RecordBatch): SeenBatch {
  const { sequence, term, firstTick } = batch;
  const messages = Array.from(batch.messages(), ({ type, vchannel, header, txn }) => ({
    name: decoder.decode(header),
    type,
    vchannel,
    txn,
  }));
  return { sequence, term, firstTick, messages };
}

async function readSome(world: World, log: LogReader, who: string): Promise<void> {
  const { first, next } = log.bounds();
  await read(world, log, who, first + below(world.random, next - first + 1));
}

/** A reader that comes and goes on where it was, and sometimes begins anew. */
async function follow(world: World): Promise<void> {
  const { pchannel, random } = world;
  let log: LogReader;
  try {
    log = await anyBackend(world).openReadOnly(pchannel);
  } catch (error) {
    if (MillraceError.is(error, "NOT_FOUND")) return;
    throw error;
  }
  world.logs.push(log);
  let next = log.bounds().first;
  while (!world.stopping()) {
    await read(world, log, "reader", next, ({ sequence }) => {
      next = sequence + 1;
    });
    const { first } = log.bounds();
    if (next < first || chance(random, 0.2)) next = first;
    await nextTurns(1);
    await world.progress(below(random, 20));
  }
}

async function truncate(world: World, log: Log): Promise<void> {
  const { tell, random } = world;
  const { first, next } = log.bounds();
  // So that nothing goes that nobody saw.
  await read(world, log, `owner ${log.term} before it truncates`, first);
  const before = first + below(random, next - first + 1);
  tell({ kind: "truncate", term: log.term, before });
  try {
    await log.truncate(before);
  } catch (error) {
    if (!MillraceError.is(error, "CHANNEL_FENCED", "RESOURCE_EXHAUSTED")) throw error;
  }
}

/** The last owner, and a reader beside it, see all there is. */
async function readAtLast(world: World, term: number): Promise<void> {
  const log = await open(world, term);
  if (!log) throw new Error(`term ${term} was refused, though no other is as high`);
  await read(world, log, "the last owner", log.bounds().first);
  const reader = await anyBackend(world).openReadOnly(world.pchannel);
  world.logs.push(reader);
  await read(world, reader, "the last reader", reader.bounds().first);
}

interface HistoryWriter {
  /** Hands in a batch, and waits if several are under way. */
  write(): Promise<void>;
  /** Hands in batches while there is no room, and goes on when there is again. */
  runOutOfRoom(): Promise<void>;
  /** Resolves when all that was handed in has an outcome. */
  settled(): Promise<void>;
  failed(): boolean;
}

function createWriter(world: World, log: Log, checksum: number): HistoryWriter {
  const { tell, random } = world;
  const { term } = log;
  const maxInFlight = 1 + below(random, 4);
  const underWay = new Set<Promise<void>>();
  const durable = { sequence: log.bounds().next, checksum };
  let next = { ...durable };
  let refused = false;
  let failed = false;

  function batchOf(count: number): { batch: RecordBatch; names: string[] } {
    const names = Array.from({ length: count }, () => `m${world.messages++}`);
    const payload = new Uint8Array(below(random, chance(random, 0.1) ? 5000 : 100));
    const messages = names.map((name) => {
      return { type: 2, vchannel: "v", header: encoder.encode(name), payload };
    });
    const batch = encodeBatch({
      term,
      sequence: next.sequence,
      firstTick: world.lastTick + 1n,
      previousChecksum: next.checksum,
      appends: [{ messages }],
    });
    world.lastTick = batch.lastTick;
    return { batch, names };
  }

  function handIn(): void {
    const { batch, names } = batchOf(1 + below(random, 3));
    const { sequence, firstTick, lastTick } = batch;
    const op = world.ops++;
    tell({ kind: "append", op, term, names });
    next = { sequence: sequence + 1, checksum: batch.checksum };
    const outcome = log.append(batch).then(
      () => {
        const id = { sequence, index: 0 };
        tell({ kind: "acknowledged", op, id, firstTick, lastTick });
        durable.sequence = sequence + 1;
        durable.checksum = batch.checksum;
      },
      (error) => {
        if (MillraceError.is(error, "RESOURCE_EXHAUSTED")) {
          if (!error.maybeApplied) tell({ kind: "failed", op });
          refused = true;
          return;
        }
        failed = true;
        if (!MillraceError.is(error, "CHANNEL_FENCED")) world.fail(error);
      },
    );
    const settling = outcome.then(() => {
      underWay.delete(settling);
    });
    underWay.add(settling);
  }

  async function settled(): Promise<void> {
    await Promise.all(underWay);
    if (!refused) return;
    // What was refused is not there: the log goes on where it was.
    refused = false;
    next = { ...durable };
  }

  return {
    async write() {
      if (refused) await settled();
      if (failed) return;
      handIn();
      if (underWay.size >= maxInFlight) await (chance(random, 0.5) ? settled() : [...underWay][0]);
    },
    async runOutOfRoom() {
      const free = await world.fill?.();
      if (!free) return;
      for (let i = below(random, 4); i >= 0 && !failed; i--) handIn();
      await settled();
      free();
    },
    settled,
    failed: () => failed,
  };
}
