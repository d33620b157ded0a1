/**
 * Keeps a log's snapshot beside the log, where its backend can, so that it opens without being read from
 * its beginning.
 *
 * @module
 */

import { type Logger, MillraceError } from "@millrace/types";
import type { Log } from "./log.ts";
import { encodeWalSnapshot } from "./snapshot-codec.ts";
import type { WalSnapshot } from "./wal.ts";

/** Keeps snapshots. */
export interface SnapshotKeeper {
  /** Bytes were written; after enough of them a snapshot is kept. */
  wrote(bytes: number): void;
  /** Resolves when what is before a sequence is known without the log, so that it may be truncated. */
  cover(before: number): Promise<void>;
  /** Keeps a last snapshot, if anything was written since. */
  close(): Promise<void>;
}

/** After so many bytes the next snapshot is kept: what is read at most after a crash. */
const everyBytes = 64 * 1024 * 1024;

/** Creates the keeper of a log. What it cannot keep costs a longer opening, nothing else. */
export function createSnapshotKeeper(
  log: Log,
  take: () => WalSnapshot,
  logger: Logger,
): SnapshotKeeper {
  let since = 0;
  /** What is before this sequence is in a snapshot that is kept. */
  let covered = 0;
  let keeping: Promise<void> | undefined;

  const keepNow = async (): Promise<void> => {
    since = 0;
    const snapshot = take();
    await log.keep?.(join([...encodeWalSnapshot(snapshot)]));
    covered = snapshot.sequence;
  };

  const keep = async (): Promise<void> => {
    try {
      await keepNow();
    } catch (error) {
      const { code, message } = MillraceError.from(error);
      logger.warn("the snapshot of a log cannot be kept", { code, reason: message });
    }
  };

  return {
    wrote(bytes) {
      since += bytes;
      if (since < everyBytes || keeping || !log.keep) return;
      keeping = keep().finally(() => {
        keeping = undefined;
      });
    },
    async cover(before) {
      await keeping;
      if (covered < before) await keepNow();
    },
    async close() {
      await keeping;
      if (since > 0) await keep();
    },
  };
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
