/**
 * Stretches: what one term holds, and where it ends.
 *
 * While a term has no end written down, it ends behind the last whole batch in its last segment. Once
 * it is fenced, its end is written down, once, together with the name of the segment that holds the
 * last batch: whatever the fenced owner still writes, and wherever, is behind it.
 *
 * The last batch may have been written by a write that failed, or that its owner did not live to see
 * fail, and stand in memory only. So whoever takes it in writes it once more, to a file of its own.
 *
 * @module
 */

import { join } from "node:path";
import { MillraceError } from "@millrace/types";
import type { LogMark } from "../../log.ts";
import { createOnce, hasCode, isFull, syncFile } from "./files.node.ts";
import { createNote, parseNumber, readNote } from "./note.node.ts";
import {
  createSegment,
  isSegmentName,
  type LogFolder,
  listSegments,
  type Segment,
  termFolder,
} from "./segment.node.ts";
import { findEnd, type SegmentEnd } from "./segment-end.node.ts";
import { saveIndex } from "./segment-index.node.ts";

/** What one term holds. */
export interface Stretch {
  /** Those with batches that count, by ascending first sequence; each has its end. */
  segments: Segment[];
  /** The sequence that follows its last batch. */
  end: number;
  /** Its end is written down. */
  settled: boolean;
}

/** Where a term ends. */
export interface StretchEnd {
  /** The sequence that follows its last batch. */
  sequence: number;
  /** The name of the segment that holds its last batch; `undefined` if it has none. */
  last: string | undefined;
}

/** What is known of the end of a term before it is looked for. */
export interface EndHints {
  /** Where finding it may begin. */
  marks: LogMark[];
  /** All batches before this sequence were durable. */
  durable: number;
}

/** How {@linkcode readStretch} goes about it. */
export interface StretchOptions {
  /** The sequence with which the term begins. */
  start: number;
  /** There is a fence in it: write down its end if that has not been done. */
  fenced: boolean;
  /** It does not matter if that is not possible: nobody has gone on behind an end that is not known. */
  readOnly: boolean;
  /** What is known of its end. */
  hints?: (() => Promise<EndHints>) | undefined;
  /** What was learnt of its segments before. By path. */
  known?: ReadonlyMap<string, Segment> | undefined;
}

/** Finds out what a term holds. `DATA_LOSS` if something is missing or damaged. */
export async function readStretch(
  log: LogFolder,
  term: number,
  options: StretchOptions,
): Promise<Stretch> {
  const { start, fenced, known } = options;
  if (term === 0) return { segments: [], end: start, settled: false };
  const folder = termFolder(log, term);
  for (;;) {
    const settled = await readEnd(log, term, start);
    const listed = await listSegments(log.fs, folder, term, settled && (settled.last ?? ""));
    const segments = listed.map((segment) => {
      const same = known?.get(segment.path);
      return same ? Object.assign(same, { end: segment.end }) : segment;
    });
    const last = segments.at(-1);
    if (settled) {
      checkComplete(folder, segments, start, settled);
      // Whoever wrote it may have been about to do this, and what is written next relies on it.
      if (fenced && !options.readOnly) await log.fs.syncFolder(folder);
      return cut(segments, settled.sequence, true);
    }
    const hints = await options.hints?.();
    const found = last && (await findEnd(log, last, { marks: hints?.marks, final: fenced }));
    const end = found?.sequence ?? start;
    checkComplete(folder, segments, start, { sequence: end, last: last?.name });
    if (hints && end < hints.durable) throw lost(folder, end, hints.durable);
    if (fenced && (await settle(log, term, segments, found, options))) continue;
    if (last && found?.batch) {
      // Its writer may have died between writing and making it durable.
      await syncFile(log.fs, last.path);
      await log.fs.syncFolder(folder);
    }
    if (last) last.scanned = found;
    return cut(segments, end, false);
  }
}

/** The error for a term that has lost its end. */
function lost(folder: string, end: number, durable: number): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `batch ${end} is missing in ${folder}, whose owner says in the file "kept" that all before ` +
      `batch ${durable} were durable`,
    { expected: `batch ${end}` },
  );
}

/** Where a term ends, as it was written down; `undefined` if it was not. */
export function readEnd(log: LogFolder, term: number, start = 0): Promise<StretchEnd | undefined> {
  const expected = `a number from ${start}, the name of a segment, and their checksum`;
  return readNote(log, endPath(log, term), expected, ([number, name = "", ...more]) => {
    const sequence = parseNumber(number, start);
    const named = name === "-" || isSegmentName(name);
    if (sequence === undefined || !named || more.length > 0) return undefined;
    return { sequence, last: name === "-" ? undefined : name };
  });
}

/** Writes down where a term ends, unless that was done. */
export async function writeEnd(log: LogFolder, term: number, end: StretchEnd): Promise<void> {
  await createNote(log, endPath(log, term), `${end.sequence} ${end.last ?? "-"}`);
}

/** Writes down the end of a fenced term as it was found; `false` if a reader cannot. */
async function settle(
  log: LogFolder,
  term: number,
  segments: readonly Segment[],
  found: SegmentEnd | undefined,
  { start, readOnly }: StretchOptions,
): Promise<boolean> {
  const sequence = found?.sequence ?? start;
  let last = segments.findLast(({ first }) => first < sequence);
  try {
    if (last && found?.batch && !last.copy) {
      await saveIndex(log, last);
      last = createSegment(termFolder(log, term), term, sequence - 1, true);
      await createOnce(log.fs, last.path, found.batch.bytes);
    }
    await writeEnd(log, term, { sequence, last: last?.name });
    return true;
  } catch (error) {
    if (readOnly && (isFull(error) || hasCode(error, "EROFS", "EACCES", "EPERM"))) return false;
    throw error;
  }
}

function checkComplete(
  folder: string,
  segments: readonly Segment[],
  start: number,
  end: StretchEnd,
): void {
  const begin = segments[0]?.first ?? start;
  const last = segments.at(-1);
  if (begin <= start && last?.name === end.last && (last || end.sequence === start)) return;
  const missing = begin > start || !last ? start : end.sequence - 1;
  throw new MillraceError("DATA_LOSS", `the file with batch ${missing} is missing in ${folder}`, {
    expected: `batch ${missing}`,
  });
}

function cut(segments: readonly Segment[], end: number, settled: boolean): Stretch {
  const kept = segments.filter(({ first }) => first < end);
  for (const segment of kept) segment.end = Math.min(segment.end ?? end, end);
  return { segments: kept, end, settled };
}

function endPath(log: LogFolder, term: number): string {
  return join(termFolder(log, term), "end");
}
