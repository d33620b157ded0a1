/**
 * Temporary folders.
 *
 * @module
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder that is removed with all it holds when it is disposed. */
export interface TempFolder extends AsyncDisposable {
  path: string;
}

/** Makes a fresh folder. */
export async function createTempFolder(name = "millrace"): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), `${name}-`));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
