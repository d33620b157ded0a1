/**
 * Spares: segments that were truncated, kept to be written again. Writing into space that a file has
 * already is two to four times as fast as making a file grow.
 *
 * What still stands in a spare is harmless: the checksum of a batch covers its term and sequence, and
 * batches of this term that were left over are lower than any that is expected there.
 *
 * A former owner may still have one file open, and a write to it under way: that with the highest
 * name in its folder, or one that has no name of a segment yet. Those never become spares.
 *
 * @module
 */

import { dirname, join } from "node:path";
import type { FileSystem } from "./file-system.ts";
import { move, remove } from "./files.node.ts";

/** The spares of one term's writer. */
export interface Spares {
  /** Takes a file that nobody writes any more; `false` if there are enough. */
  keep(path: string): Promise<boolean>;
  /** Takes over, or removes, the spares in the folder of a former owner. */
  adopt(folder: string): Promise<void>;
  /** Gives a spare this path; `false` if there is none. */
  take(path: string): Promise<boolean>;
}

/** How many files are kept. */
const maxSpares = 2;

/** Creates the spares of a term, in its folder. */
export function createSpares(fs: FileSystem, folder: string): Spares {
  const paths: string[] = [];
  let count = 0;

  async function keep(path: string): Promise<boolean> {
    if (paths.length >= maxSpares) return false;
    const spare = join(folder, `spare-${count++}`);
    // A former owner that does not know yet that it is one may be faster.
    if (!(await move(fs, path, spare))) return false;
    // Before it is written: a power cut must not bring back the name under which it was read.
    if (dirname(path) !== folder) await fs.syncFolder(dirname(path));
    paths.push(spare);
    return true;
  }

  return {
    keep,
    async adopt(former) {
      for (const name of await fs.list(former)) {
        if (!name.startsWith("spare-")) continue;
        const path = join(former, name);
        if (!(await keep(path))) await remove(fs, path);
      }
    },
    async take(path) {
      for (let spare = paths.shift(); spare; spare = paths.shift()) {
        if (await move(fs, spare, path)) return true;
      }
      return false;
    },
  };
}
