/**
 * Writer: puts batches behind each other into the segments of one term.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { RecordBatch } from "../../record-batch.ts";
import { fenced, fencePath, readFence, settleEnd, termFolder } from "./chain.node.ts";
import type { OpenFile } from "./file-system.ts";
import { explain, shortWrite } from "./files.node.ts";
import { createSegment, type LogFolder, markBatch, type Segment } from "./segment.node.ts";
import { createSpares } from "./spares.node.ts";

/** Options of {@linkcode createWriter}. */
export interface WriterOptions {
  log: LogFolder;
  term: number;
  /** The sequence of the first batch to be written. */
  next: number;
  /** In bytes; a batch that is larger gets a segment of its own. */
  segmentBytes: number;
  /** Called with each new segment before anything is written to it. */
  onSegment(segment: Segment): void;
}

/** Writes the batches of one term. */
export interface Writer {
  /** The sequence that follows the last durable batch. */
  next(): number;
  /** Makes a batch durable; calls may overlap and are served in turn. */
  append(batch: RecordBatch): Promise<void>;
  /** Throws `CHANNEL_FENCED` if another owner has followed, or the reason if a write has failed. */
  check(): Promise<void>;
  /** Takes over a file of this term that is no longer read; `false` if it is not needed. */
  recycle(path: string): Promise<boolean>;
  /** Waits for what is under way, then writes down where the term ends. */
  close(): Promise<void>;
}

interface Job {
  batch: RecordBatch;
  resolve: () => void;
  reject: (error: MillraceError) => void;
}

/** Space is filled with zeros this many bytes ahead, so that a small write changes no metadata. */
const fillBytes = 1024 * 1024;
/** From this size on a batch is not worth filling ahead for. */
const largeBatchBytes = 256 * 1024;
const zeros = new Uint8Array(fillBytes);

/** Creates the writer of a term whose fence was just put into the term before. */
export function createWriter(options: WriterOptions): Writer {
  const { log, term, segmentBytes } = options;
  const { fs, folder } = log;
  const ownFolder = termFolder(folder, term);
  const ownFence = fencePath(folder, term);
  const spares = createSpares(fs, ownFolder);
  const jobs: Job[] = [];
  let running: Promise<void> | undefined;
  let failure: MillraceError | undefined;
  let next = options.next;

  let file: OpenFile | undefined;
  let segment: Segment | undefined;
  let offset = 0;
  let filled = 0;

  function append(batch: RecordBatch): Promise<void> {
    if (failure) return Promise.reject(failure);
    return new Promise((resolve, reject) => {
      jobs.push({ batch, resolve, reject });
      running ??= run();
    });
  }

  async function run(): Promise<void> {
    for (let job = jobs.shift(); job; job = jobs.shift()) {
      try {
        if (failure) throw failure;
        await write(job.batch);
        job.resolve();
      } catch (error) {
        failure ??= explain(error, "the log cannot be written");
        job.reject(failure);
      }
    }
    running = undefined;
    if (failure) await settle();
  }

  async function write(batch: RecordBatch): Promise<void> {
    if (batch.sequence !== next || batch.term !== term) {
      throw new MillraceError(
        "INNER",
        `batch ${batch.sequence} of term ${batch.term} does not continue the log`,
        { expected: `batch ${next} of term ${term}` },
      );
    }
    const { bytes } = batch;
    if (!file || !segment || (offset > 0 && offset + bytes.length > segmentBytes)) {
      await beginSegment();
    }
    const end = offset + bytes.length;
    const parts = [bytes];
    if (end > filled && bytes.length < largeBatchBytes) {
      const ahead = Math.min(Math.ceil(end / fillBytes) * fillBytes, segmentBytes) - end;
      if (ahead > 0) parts.push(zeros.subarray(0, ahead));
    }
    const expected = parts.reduce((sum, part) => sum + part.length, 0);
    const written = await (file as OpenFile).write(parts, offset);
    if (written !== expected) throw shortWrite((segment as Segment).path, written, expected);
    await refuseIfFenced();
    markBatch(segment as Segment, batch.sequence, offset);
    filled = Math.max(filled, offset + expected);
    offset = end;
    next++;
  }

  async function beginSegment(): Promise<void> {
    const following = createSegment(ownFolder, term, next);
    await file?.close();
    const spare = await spares.take(following.path);
    file = await fs.open(following.path, spare ? "write" : "create");
    await fs.syncFolder(ownFolder);
    if (segment) segment.end = next;
    segment = following;
    offset = 0;
    filled = await file.size();
    options.onSegment(segment);
  }

  // Nobody who follows has looked for the end of this term while there is no fence in it, so what was
  // written before this look will be found. The folder is looked for after the fence: it goes only
  // when it was fenced long ago.
  async function refuseIfFenced(): Promise<void> {
    if (!fs.exists(ownFence) && fs.exists(ownFolder)) return;
    throw fenced((await readFence(log, term)) ?? term + 1);
  }

  // Of a write that failed it is not known what reached the disk: the next owner must not take it in.
  async function settle(): Promise<void> {
    try {
      await settleEnd(log, term, next);
    } catch (error) {
      // The next owner finds the end by reading.
      failure ??= explain(error, "the log cannot be written");
    }
  }

  return {
    next: () => next,
    append,
    async check() {
      if (failure) throw failure;
      await refuseIfFenced();
    },
    recycle: (path) => spares.keep(path),
    async close() {
      failure ??= new MillraceError("ON_SHUTDOWN", "the log is closed");
      await running;
      await spares.close();
      await settle();
      await file?.close();
      file = undefined;
    },
  };
}
