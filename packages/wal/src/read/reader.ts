/**
 * Reader: what counts, from a place of the log on.
 *
 * @module
 */

import type { LogBounds } from "../log.ts";
import type { Delivery, RecordBatch } from "../record-batch.ts";
import type { ReadOptions } from "../wal.ts";
import { createAssembler } from "./assembler.ts";
import { type ScanSource, scan, startOf } from "./scanner.ts";

/**
 * What counts, once and in order, on top of a scan, with its errors. A reader that is behind a delivery
 * by `{ after }` misses nothing; one that begins at a sequence, or at the earliest one, leaves out
 * transactions that were begun before it; one that begins at the latest place gets transactions that
 * are open then whole when they are committed.
 */
export function read(source: ScanSource, options: ReadOptions): AsyncIterable<Delivery> {
  const { vchannel, follow, signal } = options;
  const bounds = { first: source.log.bounds().first, next: source.next() };
  const start = readStart(bounds, source.oldestOpen(), options);
  const from = { sequence: start.sequence };
  return deliver(scan(source, { from, vchannel, follow, signal }), start, options);
}

/** Where a reader begins. */
export interface ReadStart {
  /** The first batch to read. */
  sequence: number;
  /** Only what counts from this sequence on. */
  fromSequence: number;
  /** Only what counts from later than this tick on. */
  afterTick: bigint;
}

/** Where a reader begins in a log with such bounds, and with such an oldest open transaction. */
export function readStart(bounds: LogBounds, oldestOpen: number, options: ReadOptions): ReadStart {
  const { from, afterTick = 0n } = options;
  if (from === "latest") return { sequence: oldestOpen, fromSequence: bounds.next, afterTick };
  if (from === "earliest" || "sequence" in from) {
    return { sequence: startOf(bounds, from), fromSequence: 0, afterTick };
  }
  const { tick, resume } = from.after;
  const sequence = startOf(bounds, { sequence: resume });
  if (tick > afterTick) return { sequence, fromSequence: 0, afterTick: tick };
  return { sequence, fromSequence: 0, afterTick };
}

/** What counts in batches, from a start on. */
export async function* deliver(
  batches: AsyncIterable<RecordBatch>,
  start: ReadStart,
  { vchannel, types, signal }: ReadOptions,
): AsyncGenerator<Delivery> {
  const { fromSequence, afterTick } = start;
  const assembler = createAssembler({ vchannel });
  const wanted = types && new Set(types);
  for await (const batch of batches) {
    for (const delivery of assembler.take(batch)) {
      if (signal.aborted) return;
      if (delivery.id.sequence < fromSequence || delivery.tick <= afterTick) continue;
      const filtered = wanted ? ofTypes(delivery, wanted) : delivery;
      if (filtered.messages.length > 0) yield filtered;
    }
  }
}

function ofTypes(delivery: Delivery, types: ReadonlySet<number>): Delivery {
  return { ...delivery, messages: delivery.messages.filter(({ type }) => types.has(type)) };
}
