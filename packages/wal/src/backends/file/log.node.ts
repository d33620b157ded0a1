/**
 * The log that its owner writes, and a reader of one that another may own.
 *
 * @module
 */

import type { Log, LogMark, LogReader } from "../../log.ts";
import { type Chain, createChainReader, extendChain } from "./chain.node.ts";
import { explain } from "./files.node.ts";
import { findKept, type Kept, writeKept } from "./kept.node.ts";
import { readSegments } from "./read-segments.node.ts";
import { type LogFolder, termFolder } from "./segment.node.ts";
import { createSpares } from "./spares.node.ts";
import { dropBefore, readFirst } from "./truncate.node.ts";
import { createWriter } from "./writer.node.ts";

/** Options of {@linkcode openFileLog}. */
export interface FileLogOptions {
  log: LogFolder;
  term: number;
  /** How large a file grows before the next one begins, in bytes. */
  segmentBytes: number;
  /** A place before which the log need not be read to find its end. */
  mark?: LogMark | undefined;
}

/** Puts an owner at the end of the chain of terms and opens the log for it. */
export async function openFileLog(options: FileLogOptions): Promise<Log> {
  const { log, term, mark, segmentBytes } = options;
  const spares = createSpares(log.fs, termFolder(log, term));
  const chain = await extendChain(log, term, { mark, spares });
  const segments = [...chain.segments];
  let kept = await findKept(log, chain.terms, chain.next);
  const writer = createWriter({
    log,
    term,
    next: chain.next,
    segmentBytes,
    spares,
    onSegment: (segment) => segments.push(segment),
  });

  async function keep(next: Kept): Promise<void> {
    await writeKept(log, next);
    kept = next;
  }

  async function truncate(before: number): Promise<void> {
    await writer.check();
    const limit = Math.min(before, writer.next() - 1);
    // A former owner may have truncated further, after this one had followed.
    const gone = await readFirst(log);
    while ((segments[0]?.end ?? Number.POSITIVE_INFINITY) <= gone.sequence) segments.shift();
    const from = segments.findIndex(({ end }) => end === undefined || end > limit);
    const first = segments[from];
    if (from <= 0 || !first) return;
    // What a former owner kept goes with its folder.
    if (kept && kept.term < first.term) await keep({ ...kept, term });
    segments.splice(0, from);
    await dropBefore(log, first, spares);
  }

  // One after the other, whatever became of the one before.
  let upkeep: Promise<void> = Promise.resolve();
  function queue(what: string, task: () => Promise<void>): Promise<void> {
    upkeep = upkeep
      .catch(() => undefined)
      .then(task)
      .catch(async (error) => {
        // That is why, if files are gone.
        await writer.check();
        throw explain(error, what);
      });
    return upkeep;
  }

  return {
    term,
    bounds: () => ({ first: segments[0]?.first ?? writer.next(), next: writer.next() }),
    append: (batch) => writer.append(batch),
    releasesBatches: true,
    read: (from, { signal } = {}) =>
      readSegments({ log, segments, next: writer.next }, from, signal),
    truncate: (before) => queue("the log cannot be truncated", () => truncate(before)),
    mark: () => writer.mark(),
    get kept() {
      return kept?.bytes;
    },
    keep(bytes) {
      const next = { term, bytes, mark: writer.mark() };
      return queue("it cannot be kept", async () => {
        await writer.check();
        await keep(next);
      });
    },
    async close() {
      await upkeep.catch(() => undefined);
      await writer.close();
    },
  };
}

/** Opens a log for reading. */
export async function openFileReader(log: LogFolder): Promise<LogReader> {
  const reader = createChainReader(log);
  const readChain = async (): Promise<Chain> => {
    try {
      return await reader();
    } catch (error) {
      throw explain(error, "the log cannot be read");
    }
  };
  let chain = await readChain();
  return {
    bounds: () => ({ first: chain.segments[0]?.first ?? chain.next, next: chain.next }),
    async *read(from, { signal } = {}) {
      chain = await readChain();
      for (let sequence = from; ; ) {
        const { segments, next } = chain;
        try {
          for await (const batch of readSegments(
            { log, segments, next: () => next },
            sequence,
            signal,
          )) {
            yield batch;
            sequence = batch.sequence + 1;
          }
          return;
        } catch (error) {
          // The owner may have gone on in another file than the one that was found.
          const holder = pathOf(chain, sequence);
          chain = await readChain();
          if (pathOf(chain, sequence) === holder) throw error;
        }
      }
    },
    close: async () => undefined,
  };
}

/** The file in which a batch stands, as far as is known. */
function pathOf({ segments, next }: Chain, sequence: number): string | undefined {
  return sequence < next ? segments.findLast(({ first }) => first <= sequence)?.path : undefined;
}
