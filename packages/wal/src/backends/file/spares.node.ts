/**
 * Spares: segments that were truncated, kept to be written again. Writing into space that a file has
 * already is two to four times as fast as making a file grow.
 *
 * What still stands in a spare is harmless: the checksum of a batch covers its term and sequence, and
 * those of the batches left over are lower than any that is expected there.
 *
 * @module
 */

import { join } from "node:path";
import type { FileSystem } from "./file-system.ts";
import { hasCode, remove } from "./files.node.ts";

/** The spares of one term's writer. */
export interface Spares {
  /** Takes a file that is no longer read; `false` if there are enough. */
  keep(path: string): Promise<boolean>;
  /**
   * Gives a spare this path; `false` if there is none. Not durable by itself.
   */
  take(path: string): Promise<boolean>;
  /** Removes what was not taken. */
  close(): Promise<void>;
}

/** How many files are kept. */
const maxSpares = 2;

/** Creates the spares of a term's folder. */
export function createSpares(fs: FileSystem, folder: string): Spares {
  const paths: string[] = [];
  let count = 0;
  let closed = false;
  return {
    async keep(path) {
      if (closed || paths.length >= maxSpares) return false;
      const spare = join(folder, `spare-${count++}`);
      paths.push(spare);
      await fs.rename(path, spare);
      return true;
    },
    async take(path) {
      const spare = paths.shift();
      if (!spare) return false;
      try {
        await fs.rename(spare, path);
        return true;
      } catch (error) {
        // The next owner has cleaned up.
        if (hasCode(error, "ENOENT")) return false;
        throw error;
      }
    },
    async close() {
      closed = true;
      for (const path of paths.splice(0)) await remove(fs, path);
    },
  };
}

/** Removes the spares that a former owner left in its folder. */
export async function removeSpares(fs: FileSystem, folder: string): Promise<void> {
  for (const name of await fs.list(folder)) {
    if (name.startsWith("spare-")) await remove(fs, join(folder, name));
  }
}
