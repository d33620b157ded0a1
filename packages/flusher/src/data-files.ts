/**
 * Names of data files, and what is left over of them.
 *
 * @module
 */

import type { ObjectStore } from "@millrace/storage";

/** What a data file's name says. */
export interface DataFileName {
  vchannel: string;
  partition: string;
  /** The first and the last sequence of the commit that it was made for. */
  firstSequence: number;
  lastSequence: number;
  /** Of the owner that made it. */
  term: number;
  /** Which of the commit's files it is. */
  index: number;
}

/** The path of a data file, relative to the table. Unique over all owners. */
export function dataFilePath(name: DataFileName): string {
  const { partition, vchannel, firstSequence, lastSequence, term, index } = name;
  return `_partition=${partition}/${vchannel}-${firstSequence}-${lastSequence}-${term}-${index}.parquet`;
}

/** `true` if a data file has rows of a vchannel. */
export function isDataFileOf(vchannel: string, path: string): boolean {
  return path.slice(path.lastIndexOf("/") + 1).startsWith(`${vchannel}-`);
}

/** Options of {@linkcode removeLeftovers}. */
export interface LeftoverOptions {
  store: ObjectStore;
  tablePath: string;
  vchannel: string;
  /** The names of the partitions to look at. */
  partitions: Iterable<string>;
  /** Files of lower terms are removed. */
  term: number;
  /** What the table had of the vchannel before the first commit of `term`. */
  committed: number;
  signal: AbortSignal;
}

/**
 * Removes files that earlier owners uploaded and never committed; answers how many. Such a file ends
 * behind what was committed, for a commit covers its files to their end.
 *
 * To be called after the first commit of a term: from then on no earlier owner can commit any more,
 * and what it has uploaded can only be left over.
 */
export async function removeLeftovers(options: LeftoverOptions): Promise<number> {
  const { store, tablePath, vchannel, partitions, term, committed, signal } = options;
  let removed = 0;
  for (const partition of partitions) {
    const prefix = `${tablePath}/_partition=${partition}/${vchannel}-`;
    for await (const { key } of store.list({ prefix, signal })) {
      const match = /^\d+-(\d+)-(\d+)-\d+\.parquet$/.exec(key.slice(prefix.length));
      if (!match || Number(match[2]) >= term || Number(match[1]) <= committed) continue;
      await store.delete(key, { signal });
      removed++;
    }
  }
  return removed;
}
