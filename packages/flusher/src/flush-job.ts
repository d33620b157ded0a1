/**
 * The way of sealed rows into the table: upload, then commit. Every step may be repeated, so that a
 * job which failed anywhere, or whose answer was lost, is simply run again.
 *
 * @module
 */

import type { ObjectStore } from "@millrace/storage";
import { type Logger, MillraceError } from "@millrace/types";
import type { CollectionSchema } from "@millrace/types/gen";
import type { BudgetShare } from "./budget.ts";
import { dataFilePath, removeLeftovers } from "./data-files.ts";
import type { Encoder } from "./parquet.ts";
import { rowsAfter, type Segment } from "./segment.ts";
import type { TableFile } from "./table.ts";
import {
  type FlushJob,
  partitionName,
  type UploadedFiles,
  type VchannelState,
} from "./vchannel.ts";

/** What running a job needs. */
export interface JobContext {
  store: ObjectStore;
  term: number;
  encoder: Encoder;
  share: BudgetShare;
  logger: Logger;
  signal: AbortSignal;
}

/**
 * Brings a job's rows into the table, each once, whatever the table has of them already. When it
 * resolves they are there. When it rejects it may be run again, unless with `CHANNEL_FENCED`.
 */
export async function runJob(job: FlushJob, context: JobContext): Promise<void> {
  if (job.truncates) return truncate(job, context);
  const { vchannel } = job;
  const { table } = vchannel;
  const { store, term, share, signal } = context;
  for (;;) {
    if (!job.uploaded) {
      const after = await table.committed(vchannel.name, signal);
      const rest = rowsAfter(job.range, after);
      share.release(job.range.bytes - rest.bytes);
      job.range = rest;
      if (rest.rows === 0) return;
      job.uploaded = { after, schema: schemaOf(vchannel), files: new Map() };
    }
    const { after, schema } = job.uploaded;
    await upload(job, job.uploaded, context);
    const { firstSequence, lastSequence, lastTick } = job.range;
    const files = [...job.uploaded.files.values()];
    const commit = {
      vchannel: vchannel.name,
      term,
      after,
      firstSequence,
      lastSequence,
      lastTick,
      schema,
      files,
      truncates: false,
    };
    if (await table.commit(commit, signal)) {
      vchannel.inherited ??= after;
      return;
    }
    // Another owner has committed some of the rows: the files would double them.
    for (const { path } of files) {
      await store.delete(`${vchannel.collection.tablePath}/${path}`, { signal });
    }
    job.uploaded = undefined;
  }
}

/** Takes all that the table has of a vchannel out of it, unless it has rows from behind the job. */
async function truncate({ vchannel, range }: FlushJob, context: JobContext): Promise<void> {
  const { name, table } = vchannel;
  const { term, signal } = context;
  const { firstSequence, lastSequence, lastTick } = range;
  for (;;) {
    const after = await table.committed(name, signal);
    if (after >= lastSequence) return;
    const commit = {
      vchannel: name,
      term,
      after,
      firstSequence,
      lastSequence,
      lastTick,
      schema: schemaOf(vchannel),
      files: [],
      truncates: true,
    };
    if (await table.commit(commit, signal)) {
      vchannel.inherited ??= after;
      return;
    }
  }
}

/** Removes what earlier owners left over, once this one has committed. A failure is for next time. */
export async function cleanUp({ vchannel }: FlushJob, context: JobContext): Promise<void> {
  const { store, term, logger, signal } = context;
  if (vchannel.cleaned || vchannel.inherited === undefined) return;
  try {
    const removed = await removeLeftovers({
      store,
      tablePath: vchannel.collection.tablePath,
      vchannel: vchannel.name,
      partitions: vchannel.collection.partitions.map((partition) => partition.name),
      term,
      committed: vchannel.inherited,
      signal,
    });
    vchannel.cleaned = true;
    if (removed > 0) logger.info("files left over removed", { vchannel: vchannel.name, removed });
  } catch (error) {
    if (signal.aborted) return;
    const { message } = MillraceError.from(error);
    logger.warn("files left over could not be removed", {
      vchannel: vchannel.name,
      reason: message,
    });
  }
}

async function upload(job: FlushJob, uploaded: UploadedFiles, context: JobContext): Promise<void> {
  const { share, signal } = context;
  let index = 0;
  for (const segment of job.range.segments.values()) {
    const place = index++;
    if (uploaded.files.has(segment.partitionId)) continue;
    const work = () => uploadSegment(job, segment, place, uploaded.schema, context);
    uploaded.files.set(segment.partitionId, await share.encode(work, signal));
  }
}

async function uploadSegment(
  { vchannel, range }: FlushJob,
  segment: Segment,
  index: number,
  schema: CollectionSchema,
  { store, term, encoder, signal }: JobContext,
): Promise<TableFile> {
  const { tablePath } = vchannel.collection;
  const partition = partitionName(vchannel, segment.partitionId);
  if (partition === undefined) {
    throw new MillraceError(
      "PARTITION_NOT_FOUND",
      `${vchannel.name} has rows of partition ${segment.partitionId}, which it does not know yet`,
    );
  }
  const { firstSequence, lastSequence } = range;
  const path = dataFilePath({
    firstSequence,
    lastSequence,
    vchannel: vchannel.name,
    partition,
    term,
    index,
  });
  const file = encoder({ schema, pieces: segment.pieces });
  const contentType = "application/vnd.apache.parquet";
  const body = untilAborted(file.body, signal);
  const { size } = await store.put(`${tablePath}/${path}`, body, { contentType, signal });
  return { path, partition, rows: segment.rows, size, stats: file.stats() };
}

function schemaOf({ name, collection }: VchannelState): CollectionSchema {
  if (collection.schema) return collection.schema;
  throw new MillraceError("DATA_LOSS", `${name} was created without a schema`);
}

/** Ends the work on a file that is not wanted any more. */
async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  for await (const item of source) {
    signal.throwIfAborted();
    yield item;
  }
}
