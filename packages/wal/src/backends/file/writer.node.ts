/**
 * Writer: puts batches behind each other into the segments of one term.
 *
 * A segment to which a write failed is never written again. The batch goes into a new one, which
 * begins with it and so ends the one before. A new segment is written and synced under another name
 * first, so that it appears with its first batch, and either both count or neither does.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { LogMark } from "../../log.ts";
import type { RecordBatch } from "../../record-batch.ts";
import { fenced, fencePath, readFence } from "./chain.node.ts";
import type { OpenFile } from "./file-system.ts";
import {
  closeQuietly,
  discard,
  explain,
  isFull,
  noSpace,
  reasonOf,
  shortWrite,
} from "./files.node.ts";
import {
  createSegment,
  indexBatch,
  type LogFolder,
  type Segment,
  termFolder,
} from "./segment.node.ts";
import { formatMark } from "./segment-end.node.ts";
import { saveIndex } from "./segment-index.node.ts";
import type { Spares } from "./spares.node.ts";
import { writeEnd } from "./stretch.node.ts";

/** Options of {@linkcode createWriter}. */
export interface WriterOptions {
  log: LogFolder;
  term: number;
  /** The sequence of the first batch to be written. */
  next: number;
  /** In bytes; a batch that is larger gets a segment of its own. */
  segmentBytes: number;
  /** In the folder of the term. */
  spares: Spares;
  /** Called with each new segment, when its first batch is durable. */
  onSegment(segment: Segment): void;
}

/** Writes the batches of one term. */
export interface Writer {
  /** The sequence that follows the last durable batch. */
  next(): number;
  /** The place of the next batch. */
  mark(): LogMark;
  /** Makes a batch durable; calls may overlap and are served in turn. */
  append(batch: RecordBatch): Promise<void>;
  /** Throws `CHANNEL_FENCED` if another owner has followed, or the reason if the log has failed. */
  check(): Promise<void>;
  /** Waits for what is under way, then writes down where the term ends. */
  close(): Promise<void>;
}

interface Job {
  batch: RecordBatch;
  resolve: () => void;
  reject: (error: MillraceError) => void;
}

/** How many new segments in a row are tried for one batch. */
const maxAttempts = 3;
/** Space is filled with zeros this many bytes ahead, so that a small write changes no metadata. */
const fillBytes = 1024 * 1024;
/** From this size on a batch is not worth filling ahead for. */
const largeBatchBytes = 256 * 1024;
const zeros = new Uint8Array(fillBytes);

/** Creates the writer of a term whose fence was just put into the term before. */
export function createWriter(options: WriterOptions): Writer {
  const { log, term, segmentBytes, spares } = options;
  const { fs } = log;
  const ownFolder = termFolder(log, term);
  const ownFence = fencePath(log, term);
  const jobs: Job[] = [];
  let running: Promise<void> | undefined;
  /** Why no batch is taken any more. */
  let failure: MillraceError | undefined;
  /** Why the last batch was refused, if there was no space for it. */
  let shortage: MillraceError | undefined;
  /** A batch that was not acknowledged may stand in the log all the same. */
  let uncertain = false;
  let next = options.next;

  /** The last segment with a batch that is durable. */
  let segment: Segment | undefined;
  /** It, open for writing; `undefined` if a write to it has failed. */
  let file: OpenFile | undefined;
  /** Where its next batch goes, and where the last one begins. */
  let offset = 0;
  let lastOffset = 0;
  /** How far it has space. */
  let filled = 0;
  /** The name of the segment with the last batch that was acknowledged. */
  let lastName: string | undefined;
  /** How many files were begun, for their names. */
  let asides = 0;
  let indexing: Promise<void> = Promise.resolve();

  function append(batch: RecordBatch): Promise<void> {
    if (failure) return Promise.reject(failure);
    return new Promise((resolve, reject) => {
      jobs.push({ batch, resolve, reject });
      running ??= run();
    });
  }

  async function run(): Promise<void> {
    for (let job = jobs.shift(); job; job = jobs.shift()) {
      if (failure) {
        job.reject(failure);
        continue;
      }
      try {
        await write(job.batch);
        job.resolve();
      } catch (error) {
        uncertain = true;
        if (error === shortage) {
          for (const { reject } of [job, ...jobs.splice(0)]) reject(shortage as MillraceError);
          continue;
        }
        const reason = explain(error, "the log cannot be written");
        failure ??= reason;
        job.reject(reason);
      }
    }
    running = undefined;
  }

  async function write(batch: RecordBatch): Promise<void> {
    if (batch.sequence !== next || batch.term !== term) {
      // It was handed in before it was known that the one before it is refused.
      if (shortage && batch.term === term && batch.sequence > next) throw shortage;
      throw new MillraceError(
        "INNER",
        `batch ${batch.sequence} of term ${batch.term} does not continue the log`,
        { expected: `batch ${next} of term ${term}` },
      );
    }
    if (file && segment && offset + batch.bytes.length <= segmentBytes) {
      try {
        filled = await writeAt(file, segment.path, batch.bytes, offset, filled);
      } catch (error) {
        await roll(batch, error);
      }
    } else {
      await roll(batch, undefined);
    }
    await refuseIfFenced();
    const written = segment as Segment;
    indexBatch(written, batch.sequence, offset);
    lastName = written.name;
    lastOffset = offset;
    offset += batch.bytes.length;
    shortage = undefined;
    uncertain = false;
    next++;
  }

  /** Writes a batch, and zeros behind it now and then; answers how far there is space now. */
  async function writeAt(
    target: OpenFile,
    path: string,
    bytes: Uint8Array,
    position: number,
    space: number,
  ): Promise<number> {
    const end = position + bytes.length;
    const parts = [bytes];
    if (end > space && bytes.length < largeBatchBytes) {
      const ahead = Math.min(Math.ceil(end / fillBytes) * fillBytes, segmentBytes) - end;
      if (ahead > 0) parts.push(zeros.subarray(0, ahead));
    }
    const written = await target.write(parts, position);
    // That there was no space for zeros does not matter to the batch.
    if (written < bytes.length) throw shortWrite(path, written, bytes.length);
    return Math.max(space, position + written);
  }

  /** Goes on in a new segment that begins with this batch; `problem`: why, if a write has failed. */
  async function roll(batch: RecordBatch, problem: unknown): Promise<void> {
    await leave();
    const following = createSegment(ownFolder, term, next);
    // Once the segment has its name and may be seen, nothing but this batch can stand in it.
    let named = false;
    let reason = problem;
    for (let count = 0; count < maxAttempts && (named || !isFull(reason)); count++) {
      try {
        await begin(following.path, batch, () => {
          named = true;
        });
        if (segment) segment.end = next;
        segment = following;
        offset = 0;
        options.onSegment(following);
        return;
      } catch (error) {
        reason = error;
      }
    }
    // That is why, if the folder is gone.
    await refuseIfFenced();
    if (isFull(reason) && !named) {
      shortage = noSpace(reason, `there is no space for batch ${next} in ${ownFolder}`);
      throw shortage;
    }
    const before = problem === undefined ? "" : ` after ${segment?.path}: ${reasonOf(problem)}`;
    throw new MillraceError(
      "INNER",
      `the log has ended: ${maxAttempts} new segments in a row could not be written${before}; ` +
        `the last one, ${following.path}: ${reasonOf(reason)}`,
      { cause: reason, maybeApplied: true },
    );
  }

  /** Makes a segment of one batch, durably; `onNamed`: it can be seen. */
  async function begin(path: string, batch: RecordBatch, onNamed: () => void): Promise<void> {
    const aside = `${path}.${asides++}.tmp`;
    let opened: OpenFile | undefined;
    try {
      const spare = await spares.take(aside);
      opened = await fs.open(aside, spare ? "write" : "create");
      const space = spare ? await opened.size() : 0;
      filled = await writeAt(opened, path, batch.bytes, 0, space);
      await fs.rename(aside, path);
      onNamed();
      await fs.syncFolder(ownFolder);
      file = opened;
    } catch (error) {
      if (opened) await closeQuietly(opened);
      await discard(fs, aside);
      throw error;
    }
  }

  /** Closes the segment. A former owner has at most one open: others may be written anew by the next. */
  async function leave(): Promise<void> {
    if (!file || !segment) return;
    const left = segment;
    await closeQuietly(file);
    file = undefined;
    left.indexed = true;
    indexing = indexing.then(() => saveIndex(log, left));
  }

  // Nobody who follows has looked for the end of this term while there is no fence in it, so what was
  // written before this look will be found. The folder is looked for after the fence: it goes only
  // when it was fenced long ago.
  async function refuseIfFenced(): Promise<void> {
    if (!fs.exists(ownFence) && fs.exists(ownFolder)) return;
    throw fenced((await readFence(log, term)) ?? term + 1);
  }

  // What became of a batch that was not acknowledged, the next owner finds out by reading: others may
  // have read it already.
  async function settle(): Promise<void> {
    if (uncertain) return;
    try {
      await writeEnd(log, term, { sequence: next, last: lastName });
    } catch {
      // That, too, it finds out by reading.
    }
  }

  return {
    next: () => next,
    mark() {
      const current = segment ?? createSegment(ownFolder, term, next);
      return formatMark(current, { sequence: next, offset }, lastOffset);
    },
    append,
    async check() {
      if (failure) throw failure;
      try {
        await refuseIfFenced();
      } catch (error) {
        throw explain(error, "it cannot be told whether another owner has followed");
      }
    },
    async close() {
      failure ??= new MillraceError("ON_SHUTDOWN", "the log is closed");
      await running;
      await leave();
      await settle();
      await indexing;
    },
  };
}
