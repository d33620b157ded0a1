/**
 * Keeps a log's snapshot beside the log, where its backend can, so that it opens without being read from
 * its beginning.
 *
 * @module
 */

import { type Clock, delay, type Logger, MillraceError } from "@millrace/types";
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

/** Options of {@linkcode createSnapshotKeeper}. */
export interface SnapshotKeeperOptions {
  log: Log;
  take: () => WalSnapshot;
  logger: Logger;
  /** Lets others have their turn while a large snapshot is encoded. Default: it is encoded at once. */
  clock?: Clock | undefined;
}

/** After so many bytes the next snapshot is kept: what is read at most after a crash. */
const everyBytes = 64 * 1024 * 1024;
/** Or, if that is more, so many times the bytes of the last snapshot: they are written as well. */
const everyTimes = 8;

/** Creates the keeper of a log. What it cannot keep costs a longer opening, nothing else. */
export function createSnapshotKeeper(options: SnapshotKeeperOptions): SnapshotKeeper {
  const { log, take, logger, clock } = options;
  let since = 0;
  let every = everyBytes;
  /** What is before this sequence is in a snapshot that is kept. */
  let covered = 0;
  let waiting = false;
  let last: Promise<void> = Promise.resolve();

  async function encode(snapshot: WalSnapshot): Promise<Uint8Array> {
    const lines: Uint8Array[] = [];
    for (const line of encodeWalSnapshot(snapshot)) {
      // The first two are all that most have.
      if (clock && lines.length > 1) await delay(clock, 0);
      lines.push(line);
    }
    return join(lines);
  }

  async function keepOne(): Promise<void> {
    since = 0;
    const snapshot = take();
    const bytes = await encode(snapshot);
    every = Math.max(everyBytes, everyTimes * bytes.length);
    await log.keep?.(bytes);
    covered = snapshot.sequence;
  }

  // In turn: an older one must not replace a newer one, up to which the log may have been truncated.
  function keepNow(): Promise<void> {
    const kept = last.then(keepOne);
    last = kept.catch(() => undefined);
    return kept;
  }

  async function keep(): Promise<void> {
    try {
      await keepNow();
    } catch (error) {
      const { code, message } = MillraceError.from(error);
      logger.warn("the snapshot of a log cannot be kept", { code, reason: message });
    }
  }

  return {
    wrote(bytes) {
      since += bytes;
      if (since < every || waiting || !log.keep) return;
      waiting = true;
      keep().finally(() => {
        waiting = false;
      });
    },
    async cover(before) {
      await last;
      if (covered < before) await keepNow();
    },
    async close() {
      await last;
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
