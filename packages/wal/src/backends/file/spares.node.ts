/**
 * Spares: segments that were truncated, kept to be written again. Writing into space that a file has
 * already is two to four times as fast as making a file grow.
 *
 * What still stands in a spare is harmless: the checksum of a batch covers its term and sequence, and
 * those of the batches left over are lower than any that is expected there.
 *
 * @module
 */

import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { hasCode } from "./files.node.ts";

/** The spares of one term's writer. */
export interface Spares {
  /** Takes a file that is no longer read; `false` if there are enough. */
  keep(path: string): Promise<boolean>;
  /**
   * Gives a spare this path and answers its size in bytes; 0 if there is none. Not durable by itself.
   */
  take(path: string): Promise<number>;
  /** Removes what was not taken. */
  close(): Promise<void>;
}

/** How many files are kept. */
const maxSpares = 2;

/** Creates the spares of a term's folder. */
export function createSpares(folder: string): Spares {
  const paths: string[] = [];
  let count = 0;
  let closed = false;
  return {
    async keep(path) {
      if (closed || paths.length >= maxSpares) return false;
      const spare = join(folder, `spare-${count++}`);
      paths.push(spare);
      await rename(path, spare);
      return true;
    },
    async take(path) {
      const spare = paths.shift();
      if (!spare) return 0;
      try {
        await rename(spare, path);
        return (await stat(path)).size;
      } catch (error) {
        // The next owner has cleaned up.
        if (hasCode(error, "ENOENT")) return 0;
        throw error;
      }
    },
    async close() {
      closed = true;
      for (const path of paths.splice(0)) await rm(path, { force: true });
    },
  };
}

/** Removes the spares that a former owner left in its folder. */
export async function removeSpares(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith("spare-")) await rm(join(folder, name), { force: true });
  }
}
