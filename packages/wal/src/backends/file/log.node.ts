/**
 * Reading and truncating a chain of segments, and the log that its owner writes.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { Log, LogReader } from "../../log.ts";
import type { RecordBatch } from "../../record-batch.ts";
import { type Chain, dropBefore, readChain, readFirst } from "./chain.node.ts";
import { explain, hasCode } from "./files.node.ts";
import { damaged, type LogFolder, openSegmentReader, type Segment } from "./segment.node.ts";
import { createWriter } from "./writer.node.ts";

/** Options of {@linkcode createFileLog}. */
export interface FileLogOptions {
  log: LogFolder;
  term: number;
  /** What the terms before hold. */
  chain: Chain;
  /** How large a file grows before the next one begins. */
  segmentBytes: number;
}

/** Creates the log of the owner whose term was just put at the end of the chain. */
export function createFileLog(options: FileLogOptions): Log {
  const { log, term, chain } = options;
  const segments = [...chain.segments];
  const writer = createWriter({
    ...options,
    next: chain.next,
    onSegment: (segment) => segments.push(segment),
  });

  let truncated: Promise<void> = Promise.resolve();
  async function truncate(before: number): Promise<void> {
    await writer.check();
    const limit = Math.min(before, writer.next() - 1);
    const keep = segments.findIndex(({ end }) => end === undefined || end > limit);
    const kept = segments[keep];
    if (keep <= 0 || !kept) return;
    segments.splice(0, keep);
    await dropBefore(log, kept, async (dropped) => {
      return dropped.term === term && (await writer.recycle(dropped.path));
    });
  }

  return {
    term,
    bounds: () => ({ first: segments[0]?.first ?? writer.next(), next: writer.next() }),
    append: (batch) => writer.append(batch),
    read: (from, readOptions = {}) =>
      readSegments({ log, segments, next: writer.next }, from, readOptions.signal),
    truncate(before) {
      // One after the other, whatever became of the one before.
      truncated = truncated
        .catch(() => undefined)
        .then(() => truncate(before))
        .catch((error) => {
          throw explain(error, "the log cannot be truncated");
        });
      return truncated;
    },
    async close() {
      await truncated.catch(() => undefined);
      await writer.close();
    },
  };
}

/** Creates a reader of a log that another may own. */
export async function createFileReader(log: LogFolder): Promise<LogReader> {
  let chain = await readChain(log);
  return {
    bounds: () => ({ first: chain.segments[0]?.first ?? chain.next, next: chain.next }),
    async *read(from, readOptions = {}) {
      chain = await readChain(log);
      const { segments, next } = chain;
      yield* readSegments({ log, segments, next: () => next }, from, readOptions.signal);
    },
    close: async () => undefined,
  };
}

interface SegmentSource {
  log: LogFolder;
  /** By ascending first sequence; grows at the end and shrinks at the start while it is read. */
  segments: readonly Segment[];
  /** The sequence that follows the last batch that may be read. */
  next(): number;
}

async function* readSegments(
  source: SegmentSource,
  from: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<RecordBatch> {
  const { log, segments, next } = source;
  let sequence = from;
  let previous: RecordBatch | undefined;
  while (sequence < next()) {
    signal?.throwIfAborted();
    const segment = segments.findLast(({ first }) => first <= sequence);
    if (!segment || (segment.end ?? next()) <= sequence) throw await missing(source, sequence);
    const reader = await openSegmentReader(log, segment, sequence).catch(async (error) => {
      if (hasCode(error, "ENOENT")) throw await missing(source, sequence);
      throw explain(error, "the log cannot be read");
    });
    try {
      while (reader.sequence() < Math.min(segment.end ?? next(), next())) {
        signal?.throwIfAborted();
        const place = { sequence: reader.sequence(), offset: reader.offset() };
        const batch = await reader.read();
        if (!batch) {
          // A file that was truncated may have been written anew.
          if (sequence < (await firstOf(source))) throw await missing(source, sequence);
          const problem = reader.problem() ?? "it is missing";
          throw damaged(segment, place.sequence, place.offset, problem);
        }
        if (batch.sequence < sequence) continue;
        if (previous && batch.previousChecksum !== previous.checksum) {
          const problem = "it does not continue the batch before it";
          throw damaged(segment, place.sequence, place.offset, problem);
        }
        previous = batch;
        sequence++;
        yield batch;
      }
    } finally {
      await reader.close();
    }
  }
}

/** The error for a batch whose segment is not there. */
async function missing(source: SegmentSource, sequence: number): Promise<MillraceError> {
  const first = await firstOf(source);
  if (sequence < first) {
    return new MillraceError(
      "OUT_OF_RANGE",
      `batch ${sequence} was truncated; the first is ${first}`,
      { expected: String(first) },
    );
  }
  return new MillraceError(
    "DATA_LOSS",
    `the file with batch ${sequence} is missing in ${source.log.folder}`,
    { expected: `batch ${sequence}` },
  );
}

async function firstOf({ log, segments }: SegmentSource): Promise<number> {
  const marker = await readFirst(log);
  return Math.max(marker.sequence, segments[0]?.first ?? 0);
}
