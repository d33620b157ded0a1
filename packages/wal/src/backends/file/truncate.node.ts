/**
 * Truncation: forgetting what is before a segment.
 *
 * @module
 */

import { join } from "node:path";
import { createOnce, hasCode, move, remove, removeFolder } from "./files.node.ts";
import { digits, type LogFolder, listFiles, type Segment, termFolder } from "./segment.node.ts";
import { removeIndex } from "./segment-index.node.ts";
import type { Spares } from "./spares.node.ts";

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

/** Forgets what is before the segment, durably, then frees the space or makes spares of it. */
export async function dropBefore(log: LogFolder, segment: Segment, spares: Spares): Promise<void> {
  const { fs, folder } = log;
  const { term } = segment;
  const marker = `first-${digits(segment.first)}-${digits(term)}`;
  await createOnce(fs, join(folder, marker), "");
  await dropSegments(log, termFolder(log, term), term, segment.first, spares);
  for (const name of await fs.list(folder)) {
    const older = Number(/^term-(\d{16})$/.exec(name)?.[1] ?? 0);
    // Term 0 stays, for those who began to walk before the marker stood. The others are renamed first:
    // whoever walks the chain, or writes to it still, finds a folder whole or not at all.
    if (older > 0 && older < term) {
      await move(fs, join(folder, name), join(folder, `dropped-${digits(older)}`));
    }
  }
  for (const name of await fs.list(folder)) {
    if (name.startsWith("first-") && name < marker) await remove(fs, join(folder, name));
    const dropped = Number(/^dropped-(\d{16})$/.exec(name)?.[1] ?? 0);
    if (dropped > 0) await dropTerm(log, join(folder, name), dropped, spares);
  }
}

/** Drops a folder whose term is over. Others may do the same at once. */
async function dropTerm(
  log: LogFolder,
  folder: string,
  term: number,
  spares: Spares,
): Promise<void> {
  try {
    await dropSegments(log, folder, term, Number.POSITIVE_INFINITY, spares);
    await spares.adopt(folder);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  await removeFolder(log.fs, folder);
}

/** Drops the segments of a folder that begin before a sequence. */
async function dropSegments(
  { fs }: LogFolder,
  folder: string,
  term: number,
  before: number,
  spares: Spares,
): Promise<void> {
  const files = await listFiles(fs, folder, term).catch((error) => {
    // Another one has truncated further.
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  });
  // The last one may still be open for writing.
  const last = files.findLast(({ copy }) => !copy);
  for (const dropped of files) {
    if (dropped.first >= before) break;
    await removeIndex(fs, dropped);
    const kept = !dropped.copy && dropped !== last && (await spares.keep(dropped.path));
    if (!kept) await remove(fs, dropped.path);
  }
}
