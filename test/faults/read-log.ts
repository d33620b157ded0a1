/**
 * Reading a real log for the ledger.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { createFileBackend } from "@millrace/wal/file";
import type { Ledger } from "./ledger.ts";

/** Compares what the log `p` in a folder holds, from a sequence on, with the ledger. */
export async function readLog(dir: string, ledger: Ledger, from = 0): Promise<void> {
  const reader = await createFileBackend({ dir })
    .openReadOnly("p")
    .catch((error) => {
      if (MillraceError.is(error, "NOT_FOUND")) return undefined;
      throw error;
    });
  if (!reader) {
    ledger.settle(0);
    return;
  }
  const { first } = reader.bounds();
  for await (const batch of reader.read(Math.max(first, from))) ledger.take(batch);
  ledger.settle(reader.bounds().next);
  await reader.close();
}
