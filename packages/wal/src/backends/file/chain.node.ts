/**
 * The chain of terms: one folder per owner, each ended by the fence that the next owner put into it.
 *
 * A fence names the term that follows. It is created once, whole or not at all, so that of owners who
 * race exactly one comes next. Only then is it looked where the fenced stretch ends.
 *
 * @module
 */

import { join } from "node:path";
import { MillraceError } from "@millrace/types";
import type { LogMark } from "../../log.ts";
import { hasCode, makeFolder } from "./files.node.ts";
import { readKept } from "./kept.node.ts";
import { createNote, parseNumber, readNote } from "./note.node.ts";
import { type LogFolder, listFiles, type Segment, termFolder } from "./segment.node.ts";
import type { Spares } from "./spares.node.ts";
import { type EndHints, readEnd, readStretch, type Stretch } from "./stretch.node.ts";
import { type FirstPlace, readFirst } from "./truncate.node.ts";

/** What a chain of terms holds. */
export interface Chain {
  /** The segments with batches, by ascending first sequence; each has its end. */
  segments: Segment[];
  /** The sequence that follows the last batch. */
  next: number;
  /** The terms that were walked, the last one last. */
  terms: number[];
}

/** How {@linkcode extendChain} goes about it. */
export interface ExtendOptions {
  /** A place before which the log need not be read to find its end. */
  mark?: LogMark | undefined;
  /** Of the term that is added; they take over those of the terms before. */
  spares: Spares;
}

/** The file that ends a term by naming the next one. */
export function fencePath(log: LogFolder, term: number): string {
  return join(termFolder(log, term), "fence");
}

/**
 * Puts `term` at the end of the chain, fencing the one before, and answers what that chain holds.
 * `CHANNEL_FENCED` if the same or a higher term is there.
 */
export async function extendChain(
  log: LogFolder,
  term: number,
  options: ExtendOptions,
): Promise<Chain> {
  const { fs } = log;
  await makeFolder(fs, termFolder(log, 0));
  await makeFolder(fs, termFolder(log, term));
  let placed: number | undefined;
  return walk(log, {
    readOnly: false,
    async step(current) {
      if (current >= term) throw fenced(current);
      // A walk that had to begin again finds the fence that it placed.
      const following = placed === current ? term : await placeFence(log, current, term);
      if (following === term) placed = current;
      await options.spares.adopt(termFolder(log, current));
      return { following, stop: following === term };
    },
    async hints(current) {
      const kept = await readKept(log, current);
      const marks = [options.mark, kept?.mark].filter((mark) => mark !== undefined);
      return { marks, durable: kept?.mark.sequence ?? 0 };
    },
  });
}

/** Reads a chain again and again as it stands, and remembers what cannot change any more. */
export function createChainReader(log: LogFolder): () => Promise<Chain> {
  /** Terms that are over, with the one that follows. */
  const over = new Map<number, Stretch & { start: number; following: number }>();
  /** Of the last term. By path. */
  let open = new Map<string, Segment>();

  return async () => {
    const chain = await walk(log, {
      readOnly: true,
      async step(current) {
        const following = over.get(current)?.following ?? (await findFence(log, current));
        return { following, stop: following === undefined };
      },
      known: (current, start) => {
        const stretch = over.get(current);
        return stretch?.start === start ? stretch : undefined;
      },
      segments: () => open,
      onStretch(current, start, following, stretch) {
        if (following === undefined) {
          open = new Map(stretch.segments.map((segment) => [segment.path, segment]));
        } else if (stretch.settled) {
          over.set(current, { ...stretch, start, following });
        }
      },
    });
    const [first = 0] = chain.terms;
    for (const term of over.keys()) if (term < first) over.delete(term);
    return chain;
  };
}

/** The term that fences `term`, or `undefined` while it is the last. */
export function readFence(log: LogFolder, term: number): Promise<number | undefined> {
  const expected = `a number from ${term + 1} and its checksum`;
  return readNote(log, fencePath(log, term), expected, ([following, ...more]) =>
    more.length === 0 ? parseNumber(following, term + 1) : undefined,
  );
}

/**
 * The same where a missing fence would hide what is behind it: `DATA_LOSS` if there is none although a
 * later term has segments, which nobody begins before the fence is durable.
 */
async function findFence(log: LogFolder, term: number): Promise<number | undefined> {
  const following = await readFence(log, term);
  if (following !== undefined) return following;
  for (const name of await log.fs.list(log.folder)) {
    const later = Number(/^term-(\d{16})$/.exec(name)?.[1] ?? 0);
    if (later <= term || (await isWithoutSegments(log, later))) continue;
    // It may have been placed meanwhile.
    const placed = await readFence(log, term);
    if (placed !== undefined) return placed;
    throw new MillraceError(
      "DATA_LOSS",
      `${fencePath(log, term)} is missing, but term ${later} has been written`,
      { expected: "the term that follows" },
    );
  }
  return undefined;
}

async function isWithoutSegments(log: LogFolder, term: number): Promise<boolean> {
  try {
    return (await listFiles(log.fs, termFolder(log, term), term)).length === 0;
  } catch (error) {
    // It was dropped meanwhile.
    if (hasCode(error, "ENOENT")) return true;
    throw error;
  }
}

/** The error for an owner whom `term` has followed. */
export function fenced(term: number): MillraceError {
  return new MillraceError("CHANNEL_FENCED", `term ${term} owns the log; find its owner again`, {
    expected: String(term),
  });
}

/** Fences `current` with `term` if it has no fence, and answers the term that follows it durably. */
async function placeFence(log: LogFolder, current: number, term: number): Promise<number> {
  let following = await findFence(log, current);
  if (following === undefined) {
    if (await createNote(log, fencePath(log, current), String(term))) return term;
    following = (await readFence(log, current)) ?? term;
  }
  if (following >= term) throw fenced(following);
  // Whoever placed it may have been about to do this.
  await log.fs.syncFolder(termFolder(log, current));
  return following;
}

/** What is done at each term of the chain. */
interface Walk {
  /** Nothing need be written. */
  readOnly: boolean;
  /** The term that follows, or `undefined` if none does; the walk ends here if it is to `stop`. */
  step(term: number): Promise<{ following: number | undefined; stop: boolean }>;
  /** What is known of the end of a term. */
  hints?(term: number): Promise<EndHints>;
  /** What a term holds, if that is known already. */
  known?(term: number, start: number): Stretch | undefined;
  /** Segments that were looked at before. By path. */
  segments?(): ReadonlyMap<string, Segment>;
  /** Called with each stretch that was read. */
  onStretch?(term: number, start: number, following: number | undefined, stretch: Stretch): void;
}

async function walk(log: LogFolder, how: Walk): Promise<Chain> {
  for (;;) {
    const first = await readFirst(log);
    try {
      return await walkFrom(log, first, how);
    } catch (error) {
      // Truncated underfoot: begin again where the log begins now.
      if ((await readFirst(log)).sequence === first.sequence) throw error;
    }
  }
}

async function walkFrom(log: LogFolder, first: FirstPlace, how: Walk): Promise<Chain> {
  const segments: Segment[] = [];
  const terms: number[] = [];
  let { term, sequence } = first;
  for (;;) {
    const own = termFolder(log, term);
    if (term > 0 && !log.fs.exists(own)) {
      throw new MillraceError("DATA_LOSS", `${own} is missing, or what says that it is gone`, {
        expected: `the folder of term ${term}`,
      });
    }
    const { following, stop } = await how.step(term);
    const stretch =
      how.known?.(term, sequence) ?? (await readTerm(log, term, sequence, following, how));
    if (following === undefined && !stretch.settled && (await isEnded(log, term))) {
      // Ended while it was read: what was found is not the end that counts.
      continue;
    }
    how.onStretch?.(term, sequence, following, stretch);
    segments.push(...stretch.segments);
    terms.push(term);
    sequence = stretch.end;
    if (stop) {
      const kept = segments.filter(({ end = 0 }) => end > first.sequence);
      return { segments: kept, next: sequence, terms };
    }
    term = following ?? term;
  }
}

function readTerm(
  log: LogFolder,
  term: number,
  start: number,
  following: number | undefined,
  how: Walk,
): Promise<Stretch> {
  const { hints } = how;
  return readStretch(log, term, {
    start,
    fenced: following !== undefined,
    readOnly: how.readOnly,
    hints: hints && (() => hints(term)),
    known: how.segments?.(),
  });
}

async function isEnded(log: LogFolder, term: number): Promise<boolean> {
  return (await readFence(log, term)) !== undefined || (await readEnd(log, term)) !== undefined;
}
