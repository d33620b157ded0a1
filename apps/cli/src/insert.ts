/**
 * The loop of an insert: read, send a few batches at a time, try again, count.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { callTimeoutMs, type MillraceClient, type RetryOptions, retrying } from "./client.ts";
import { atPlace, type InputBatch } from "./readers/mod.ts";

/** Options of {@linkcode insertBatches}. */
export interface InsertBatchesOptions {
  client: MillraceClient;
  collection: string;
  /** Empty: the default partition. */
  partition: string;
  /** What the idempotency keys of the batches begin with. */
  prefix: string;
  /** How many requests are under way at a time, each with at most one batch. */
  inFlight: number;
  retry: RetryOptions;
  /** Kept up to date while it goes on. */
  counts: InsertCounts;
}

/** What the server acknowledged. */
export interface InsertCounts {
  /** Rows, those included that an earlier run had inserted. */
  rows: number;
  /** Rows among them that an earlier run had inserted. */
  duplicates: number;
}

/**
 * The idempotency key of a batch: its rows' place in the input, so that a rerun of the same input in
 * the same batches has the same keys, and in other batches has others.
 */
export function idempotencyKey(prefix: string, batch: InputBatch): string {
  return `${prefix}/${batch.firstRow}+${batch.rows}`;
}

/**
 * Sends all batches and resolves when all are acknowledged. Reading waits while enough requests are
 * under way. After an error nothing more is sent, and what is under way is waited for; errors about a
 * row name its place in the input.
 */
export async function insertBatches(
  batches: AsyncIterable<InputBatch>,
  options: InsertBatchesOptions,
): Promise<void> {
  const { inFlight, retry } = options;
  const stop = new AbortController();
  const waiting = AbortSignal.any([retry.signal, stop.signal]);
  const running = new Set<Promise<void>>();
  try {
    for await (const batch of batches) {
      const sent: Promise<void> = sendBatch(batch, {
        ...options,
        retry: { ...retry, signal: waiting },
      })
        .catch((error) => stop.abort(error))
        .finally(() => running.delete(sent));
      running.add(sent);
      while (running.size >= inFlight) await Promise.race(running);
      waiting.throwIfAborted();
    }
  } catch (error) {
    stop.abort(error);
  }
  await Promise.all(running);
  if (stop.signal.aborted) throw stop.signal.reason;
}

async function sendBatch(batch: InputBatch, options: InsertBatchesOptions): Promise<void> {
  const { client, collection, partition, prefix, retry, counts } = options;
  const key = idempotencyKey(prefix, batch);
  const request = { collection, partition, columns: batch.columns, idempotencyKey: key };
  let attempts = 0;
  try {
    const response = await retrying(() => {
      attempts++;
      return client.proxy.insert(request, { timeoutMs: callTimeoutMs });
    }, retry);
    counts.rows += batch.rows;
    // After a failure it may have been this run that wrote it.
    if (response.duplicate && attempts === 1) counts.duplicates += batch.rows;
  } catch (error) {
    throw MillraceError.is(error) ? atPlace(error, batch.place) : error;
  }
}
