/**
 * Batches for the tests of log backends.
 *
 * @module
 */

import { encodeBatch } from "../encode.ts";
import type { LogReader } from "../log.ts";
import type { RecordBatch } from "../record-batch.ts";

/** The batches of a log from a sequence on. */
export async function collect(log: LogReader, from: number): Promise<RecordBatch[]> {
  const batches: RecordBatch[] = [];
  for await (const batch of log.read(from)) batches.push(batch);
  return batches;
}

/** Their sequences. */
export async function sequences(log: LogReader, from: number): Promise<number[]> {
  return (await collect(log, from)).map(({ sequence }) => sequence);
}

/** The numbers from `from` to before `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** Makes batches that continue each other, whoever writes them. */
export interface Batches {
  /** Of `payloadBytes` bytes (default 10), behind the one before it or one with this checksum. */
  one(term: number, sequence: number, payloadBytes?: number, previous?: number): RecordBatch;
  many(term: number, from: number, count: number, payloadBytes?: number): RecordBatch[];
}

/** Creates {@linkcode Batches} of a new log. */
export function createBatches(): Batches {
  const checksums = new Map<number, number>();
  function one(
    term: number,
    sequence: number,
    payloadBytes = 10,
    previous = checksums.get(sequence - 1) ?? 0,
  ): RecordBatch {
    const payload = new Uint8Array(payloadBytes).fill(sequence + 1);
    const message = { type: 2, vchannel: "v", header: new Uint8Array(0), payload };
    const batch = encodeBatch({
      term,
      sequence,
      firstTick: BigInt(sequence + 1),
      previousChecksum: previous,
      appends: [{ messages: [message] }],
    });
    checksums.set(sequence, batch.checksum);
    return batch;
  }
  return {
    one,
    many: (term, from, count, payloadBytes) =>
      range(from, from + count).map((sequence) => one(term, sequence, payloadBytes)),
  };
}
