/**
 * The readers of a random history of a Wal: from any place, of any vchannel, to the end or part of the
 * way, at the owner or beside it.
 *
 * @module
 */

import { MillraceError, type Tick } from "@millrace/types";
import { decodeBatch } from "../decode.ts";
import { openWalReader, type WalReader } from "../read/mod.ts";
import type { Delivery, RecordBatch } from "../record-batch.ts";
import type { ScanFrom, Wal } from "../wal.ts";
import { below, chance, pick } from "./chance.ts";
import type { ReadEvent, SeenBatch, SeenDelivery } from "./history.ts";
import { nextTurns } from "./turns.ts";
import { anyBackend, type ReadPlace, vchannels, type World } from "./wal-world.ts";

/** What is read: at the owner of a term, or, without one, beside the owner. */
export interface ReadSource {
  log: Pick<Wal | WalReader, "scan" | "read" | "bounds">;
  term: number | undefined;
  /** Why nothing more comes, if so. */
  ended(): boolean;
}

const decoder = new TextDecoder();

/** A batch as a history has it: the payload of a message is its name. */
function seenBatch(batch: RecordBatch): SeenBatch {
  const { sequence, term, firstTick } = batch;
  const messages = Array.from(batch.messages(), ({ type, vchannel, payload, txn }) => ({
    name: decoder.decode(payload),
    type,
    vchannel,
    txn,
  }));
  return { sequence, term, firstTick, messages };
}

function seenDelivery({ tick, id, messages }: Delivery): SeenDelivery {
  const names = messages.map(({ payload }) => decoder.decode(payload));
  return { tick, id, names: names.filter((name) => name !== "") };
}

interface Reading {
  from: ScanFrom;
  /** Where to begin instead, if deliveries are read. */
  place?: ReadPlace | undefined;
  vchannel?: string | undefined;
  afterTick?: Tick | undefined;
  /** Waits for more at the end. */
  follow: boolean;
  /** Ends after this many batches or deliveries. */
  most: number;
}

/** Reads all there is, as batches and as deliveries. */
export async function readAll(world: World, source: ReadSource): Promise<void> {
  const reading: Reading = { from: "earliest", follow: false, most: Number.POSITIVE_INFINITY };
  await readBatches(world, source, reading);
  await readDeliveries(world, source, reading);
}

/** Reads all batches that are left; `false` if there was no coming to the end. */
export function readAllBatches(world: World, source: ReadSource): Promise<boolean> {
  const reading: Reading = { from: "earliest", follow: false, most: Number.POSITIVE_INFINITY };
  return readBatches(world, source, reading);
}

/** Reads from somewhere, for a while. */
export async function readSome(world: World, source: ReadSource): Promise<void> {
  const { random } = world;
  const { first, next } = source.log.bounds();
  // A later owner has truncated the log behind all that this one knows.
  if (first > next) return;
  const sequence = first + below(random, next - first + 1);
  // Beside the owner, where the latest place is, is not known before it is asked for.
  const starts: ScanFrom[] = ["earliest", source.term ? "latest" : "earliest", { sequence }];
  const most = chance(random, 0.5) ? below(random, 30) : Number.POSITIVE_INFINITY;
  const follow = source.term !== undefined && chance(random, 0.5);
  // A former owner does not come as far as a later one.
  const place = pick(
    random,
    world.places.filter(({ resume }) => resume <= next),
  );
  const reading: Reading = {
    from: pick(random, starts) as ScanFrom,
    vchannel: chance(random, 0.3) ? pick(random, vchannels) : undefined,
    follow,
    most,
  };
  if (chance(random, 0.4)) await readBatches(world, source, reading);
  else if (place && chance(random, 0.5)) {
    await readDeliveries(world, source, { ...reading, place });
  } else {
    const afterTick = chance(random, 0.2) ? world.lastTick() - 100n : undefined;
    await readDeliveries(world, source, { ...reading, afterTick });
  }
}

/** A reader beside the owner, which comes again and again. */
export async function readBeside(world: World): Promise<void> {
  const { pchannel, random } = world;
  while (!world.stopping()) {
    try {
      const log = await openWalReader({ backend: anyBackend(world), pchannel });
      const source: ReadSource = { log, term: undefined, ended: () => false };
      for (let i = below(random, 4); i >= 0; i--) await readSome(world, source);
      await log.close();
    } catch (error) {
      if (!MillraceError.is(error, "NOT_FOUND")) throw error;
    }
    await nextTurns(1);
    await world.progress(below(random, 40));
  }
}

/** The last reader, beside the owner, sees all there is. */
export async function readAllBeside(world: World): Promise<void> {
  const { pchannel } = world;
  const log = await openWalReader({ backend: anyBackend(world), pchannel });
  await readAll(world, { log, term: undefined, ended: () => false });
  await log.close();
}

async function readBatches(world: World, source: ReadSource, reading: Reading): Promise<boolean> {
  const { vchannel, follow } = reading;
  // It is no place for those who read batches.
  const from =
    typeof reading.from === "object" && "after" in reading.from ? "earliest" : reading.from;
  const request = begin(world, source, { view: "batches", from, vchannel });
  const stop = new AbortController();
  const batches = source.log.scan({ from, vchannel, follow, signal: stop.signal });
  const held: RecordBatch[] = [];
  const whole = await drain(world, source, request, reading, stop, batches, (batch) => {
    world.tell({ kind: "batch", reader: request.reader, batch: seenBatch(batch) });
    held.push(batch);
  });
  // Whoever has got a batch may keep it.
  for (const { bytes } of held) decodeBatch(bytes);
  return whole;
}

async function readDeliveries(world: World, source: ReadSource, reading: Reading): Promise<void> {
  const { tell, truncatedTo, places } = world;
  const { place, afterTick, follow } = reading;
  // A place is good for the filter with which it was got.
  const vchannel = place ? place.vchannel : reading.vchannel;
  const start: ReadEvent["from"] = place ? { after: place.tick, since: place.since } : reading.from;
  const request = begin(world, source, { view: "deliveries", from: start, vchannel, afterTick });
  const stop = new AbortController();
  const from = place ? { after: place } : reading.from;
  const deliveries = source.log.read({ from, vchannel, afterTick, follow, signal: stop.signal });
  const since = place?.since ?? sinceOf(reading.from, truncatedTo);
  const held: [Delivery, SeenDelivery][] = [];
  await drain(world, source, request, reading, stop, deliveries, (delivery) => {
    const { tick, resume } = delivery;
    const seen = seenDelivery(delivery);
    held.push([delivery, seen]);
    tell({ kind: "delivery", reader: request.reader, delivery: seen });
    places.push({ tick, resume, vchannel, since });
  });
  for (const [delivery, { names }] of held) {
    if (seenDelivery(delivery).names.join() !== names.join()) {
      throw new Error(`${request.reader} holds ${names.join()}, which has changed since`);
    }
  }
}

/** From where on a reader leaves nothing out. */
function sinceOf(from: ScanFrom, truncatedTo: number): number {
  if (from === "earliest") return truncatedTo;
  // The owner knows what is open.
  return from === "latest" ? 0 : from.sequence;
}

function begin(
  world: World,
  { term }: ReadSource,
  request: Omit<ReadEvent, "kind" | "reader">,
): ReadEvent {
  const where = term === undefined ? "beside the owner" : `at the owner of term ${term}`;
  const event: ReadEvent = {
    kind: "read",
    reader: `reader ${world.readers++} ${where}`,
    ...request,
  };
  world.tell(event);
  return event;
}

/** Reads one after the other; `true` if that came to an end by itself. */
async function drain<T>(
  world: World,
  { term, ended }: ReadSource,
  { reader }: ReadEvent,
  { follow, most }: Reading,
  stop: AbortController,
  items: AsyncIterable<T>,
  see: (item: T) => void,
): Promise<boolean> {
  const { tell, random } = world;
  // What a later owner has acknowledged, a former one need not know.
  const isCurrent = term === undefined || term >= world.highestOpen;
  // One that follows is stopped at some time, wherever it is.
  const stopping = follow ? nextTurns(1 + below(random, 30)).then(() => stop.abort()) : undefined;
  let count = 0;
  try {
    for await (const item of items) {
      if (count++ >= most || stop.signal.aborted) return false;
      see(item);
      if (chance(random, 0.05)) await nextTurns(2);
    }
    if (!follow && !ended() && isCurrent) tell({ kind: "complete", reader });
    return !follow;
  } catch (error) {
    if (MillraceError.is(error, "OUT_OF_RANGE")) {
      tell({ kind: "out-of-range", reader, first: Number(error.expected) });
    } else if (!MillraceError.is(error, "CHANNEL_FENCED", "ON_SHUTDOWN")) throw error;
    return false;
  } finally {
    stop.abort();
    await stopping;
  }
}
