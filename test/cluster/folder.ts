/**
 * A folder for a run, of which something is left if it fails.
 *
 * @module
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs in a fresh folder, which is removed if that succeeds; if not, its path is printed. */
export async function inFolder<T>(name: string, run: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), `millrace-${name}-`));
  try {
    const result = await run(folder);
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    return result;
  } catch (error) {
    process.stderr.write(`${name}: logs and histories are in ${folder}\n`);
    throw error;
  }
}
