/**
 * Reading through segments.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { RecordBatch } from "../../record-batch.ts";
import { explain, hasCode } from "./files.node.ts";
import { damaged, type LogFolder, type Segment } from "./segment.node.ts";
import { openSegmentNear } from "./segment-index.node.ts";
import { readFirst } from "./truncate.node.ts";

/** What is read. */
export interface SegmentSource {
  log: LogFolder;
  /** By ascending first sequence; grows at the end and shrinks at the start while it is read. */
  segments: readonly Segment[];
  /** The sequence that follows the last batch that may be read. */
  next(): number;
}

/**
 * The batches from a sequence on. `OUT_OF_RANGE` if it was truncated, `DATA_LOSS` if one is missing or
 * damaged.
 */
export async function* readSegments(
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
    const reader = await openSegmentNear(log, segment, sequence).catch(async (error) => {
      if (hasCode(error, "ENOENT")) throw await missing(source, sequence);
      throw explain(error, "the log cannot be read");
    });
    try {
      while (reader.place().sequence < Math.min(segment.end ?? next(), next())) {
        signal?.throwIfAborted();
        const place = reader.place();
        const batch = reader.take() ?? (await reader.read());
        if (!batch) {
          // A file that was truncated may have been written anew.
          if (sequence < (await firstOf(source))) throw await missing(source, sequence);
          const problem = reader.problem() ?? "it is missing";
          throw damaged(segment, place, problem);
        }
        if (batch.sequence < sequence) continue;
        if (previous && batch.previousChecksum !== previous.checksum) {
          const problem = "it does not continue the batch before it";
          throw damaged(segment, place, problem);
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
  try {
    const marker = await readFirst(log);
    return Math.max(marker.sequence, segments[0]?.first ?? 0);
  } catch (error) {
    throw explain(error, "the log cannot be read");
  }
}
