/**
 * The chain of terms: one folder per owner, each ended by the fence that the next owner put into it.
 *
 * A fence names the term that follows. It is created once, whole or not at all, so that of owners who
 * race exactly one comes next. Only then is it looked where the fenced stretch ends, and that end is
 * written down, once as well: whatever the fenced owner writes from then on is behind the end.
 *
 * @module
 */

import { join } from "node:path";
import { MillraceError } from "@millrace/types";
import { createOnce, makeFolder, readText, remove, removeFolder, syncFile } from "./files.node.ts";
import { findEnd, type LogFolder, listSegments, type Segment } from "./segment.node.ts";
import { removeSpares } from "./spares.node.ts";

/** What a chain of terms holds. */
export interface Chain {
  /** The segments with batches, by ascending first sequence; each has its end. */
  segments: Segment[];
  /** The sequence that follows the last batch. */
  next: number;
  /** The last term; 0 if the chain has none yet. */
  term: number;
}

/** The folder of a term. */
export function termFolder(folder: string, term: number): string {
  return join(folder, `term-${digits(term)}`);
}

/** The file that ends a term by naming the next one. */
export function fencePath(folder: string, term: number): string {
  return join(termFolder(folder, term), "fence");
}

/**
 * Puts `term` at the end of the chain, fencing the one before, and answers what that chain holds.
 * `CHANNEL_FENCED` if the same or a higher term is there.
 */
export async function extendChain(log: LogFolder, term: number): Promise<Chain> {
  const { fs, folder } = log;
  await makeFolder(fs, termFolder(folder, 0));
  await makeFolder(fs, termFolder(folder, term));
  return walk(log, async (current) => {
    if (current >= term) throw fenced(current);
    const placed = await createOnce(fs, fencePath(folder, current), String(term));
    const following = placed ? term : ((await readFence(log, current)) ?? current);
    if (!placed && following >= term) throw fenced(following);
    await removeSpares(fs, termFolder(folder, current));
    return { following, stop: placed };
  });
}

/** Reads what the chain holds, as it stands. */
export async function readChain(log: LogFolder): Promise<Chain> {
  return walk(log, async (current) => {
    const following = await readFence(log, current);
    return { following, stop: following === undefined };
  });
}

/** The term that fences `term`, or `undefined` while it is the last. */
export async function readFence(log: LogFolder, term: number): Promise<number | undefined> {
  return readNumber(log, fencePath(log.folder, term), term + 1);
}

/** Writes down that a term ends before sequence `end`, unless its end is known; answers the end. */
export async function settleEnd(log: LogFolder, term: number, end: number): Promise<number> {
  if (await createOnce(log.fs, endPath(log.folder, term), String(end))) return end;
  return (await readNumber(log, endPath(log.folder, term), 0)) ?? end;
}

function endPath(folder: string, term: number): string {
  return join(termFolder(folder, term), "end");
}

/** The number in a file, or `undefined` if there is none. It is at least `least`, else `DATA_LOSS`. */
async function readNumber(
  log: LogFolder,
  path: string,
  least: number,
): Promise<number | undefined> {
  const text = await readText(log.fs, path);
  if (text === undefined) return undefined;
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(number) && number >= least) return number;
  throw new MillraceError("DATA_LOSS", `${path} is damaged: it holds ${JSON.stringify(text)}`, {
    expected: `a number from ${least}`,
  });
}

/** The error for an owner whom `term` has followed. */
export function fenced(term: number): MillraceError {
  return new MillraceError("CHANNEL_FENCED", `term ${term} owns the log; find its owner again`, {
    expected: String(term),
  });
}

interface Step {
  /** The term that follows; `undefined` if none does. */
  following: number | undefined;
  /** The walk ends here. */
  stop: boolean;
}

async function walk(log: LogFolder, step: (term: number) => Promise<Step>): Promise<Chain> {
  for (;;) {
    const first = await readFirst(log);
    try {
      return await walkFrom(log, first, step);
    } catch (error) {
      // Truncated underfoot: begin again where the log begins now.
      if ((await readFirst(log)).sequence === first.sequence) throw error;
    }
  }
}

async function walkFrom(
  log: LogFolder,
  first: FirstPlace,
  step: (term: number) => Promise<Step>,
): Promise<Chain> {
  const segments: Segment[] = [];
  let { term, sequence } = first;
  for (;;) {
    const { following, stop } = await step(term);
    const stretch = await readStretch(log, term, sequence, following !== undefined);
    if (following === undefined && !stretch.settled && (await isEnded(log, term))) {
      // Ended while it was read: what was found is not the end that counts.
      continue;
    }
    segments.push(...stretch.segments);
    sequence = stretch.end;
    if (stop) {
      const kept = segments.filter(({ end = 0 }) => end > first.sequence);
      return { segments: kept, next: sequence, term };
    }
    term = following ?? term;
  }
}

async function isEnded(log: LogFolder, term: number): Promise<boolean> {
  const fence = await readFence(log, term);
  return fence !== undefined || (await readText(log.fs, endPath(log.folder, term))) !== undefined;
}

interface Stretch {
  segments: Segment[];
  end: number;
  /** Its end is written down. */
  settled: boolean;
}

/** The segments of one term, cut at its end. */
async function readStretch(
  log: LogFolder,
  term: number,
  start: number,
  ended: boolean,
): Promise<Stretch> {
  if (term === 0) return { segments: [], end: start, settled: false };
  const { fs, folder } = log;
  const path = termFolder(folder, term);
  const known = await readNumber(log, endPath(folder, term), start);
  const segments = await listSegments(fs, path, term);
  const last = segments.at(-1);
  let end = known ?? start;
  if (known === undefined && last) {
    end = await findEnd(log, last);
    // Its writer may have died between writing and making it durable.
    await syncFile(fs, last.path);
  }
  const begin = segments[0]?.first ?? start;
  if (begin > start || (end > start && !last)) {
    throw new MillraceError("DATA_LOSS", `the file with batch ${start} is missing in ${path}`, {
      expected: `batch ${start}`,
    });
  }
  if (known === undefined && ended) end = await settleEnd(log, term, end);
  const kept = segments.filter(({ first }) => first < end);
  for (const segment of kept) segment.end = Math.min(segment.end ?? end, end);
  return { segments: kept, end, settled: known !== undefined || ended };
}

/** Where a log begins. */
export interface FirstPlace {
  sequence: number;
  /** 0 while nothing was truncated. */
  term: number;
}

/**
 * The first sequence that was not truncated, and the term that holds it. Kept as the name of an empty
 * file: creating it is atomic, and of several the highest counts, so that a former owner who truncates
 * late cannot bring back what is gone.
 */
export async function readFirst({ fs, folder }: LogFolder): Promise<FirstPlace> {
  let first: FirstPlace = { sequence: 0, term: 0 };
  for (const name of await fs.list(folder)) {
    const match = /^first-(\d{16})-(\d{16})$/.exec(name);
    if (!match) continue;
    const sequence = Number(match[1]);
    if (sequence > first.sequence) first = { sequence, term: Number(match[2]) };
  }
  return first;
}

/**
 * Forgets what is before the segment, durably, then frees the space: a file for which `recycle` answers
 * `true` is not removed.
 */
export async function dropBefore(
  log: LogFolder,
  segment: Segment,
  recycle: (dropped: Segment) => Promise<boolean>,
): Promise<void> {
  const { fs, folder } = log;
  const { term } = segment;
  const marker = `first-${digits(segment.first)}-${digits(term)}`;
  await createOnce(fs, join(folder, marker), "");
  for (const dropped of await listSegments(fs, termFolder(folder, term), term)) {
    if (dropped.first >= segment.first) break;
    if (!(await recycle(dropped))) await remove(fs, dropped.path);
  }
  for (const name of await fs.list(folder)) {
    const older = Number(/^term-(\d{16})$/.exec(name)?.[1] ?? 0);
    // Term 0 stays, for those who began to walk before the marker stood. The others are renamed first:
    // whoever walks the chain, or writes to it still, finds a folder whole or not at all.
    if (older > 0 && older < term) {
      await fs.rename(join(folder, name), join(folder, `dropped-${digits(older)}`));
    }
  }
  for (const name of await fs.list(folder)) {
    const stale = name.startsWith("first-") && name < marker;
    if (stale) await remove(fs, join(folder, name));
    if (name.startsWith("dropped-")) await removeFolder(fs, join(folder, name));
  }
}

function digits(number: number): string {
  return String(number).padStart(16, "0");
}
