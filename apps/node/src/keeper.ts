/**
 * Keeps the snapshot of an open pchannel up to date, and lets go what the log need not hold any more.
 *
 * @module
 */

import {
  type Clock,
  type Live,
  type Logger,
  MillraceError,
  readLive,
  withTimeLimit,
} from "@millrace/types";
import type { Wal } from "@millrace/wal";
import type { Snapshots } from "./recovery.ts";
import type { Retention } from "./retention.ts";
import type { PchannelSnapshot } from "./snapshot-codec.ts";

/** Options of {@linkcode createKeeper}. */
export interface KeeperOptions {
  pchannel: string;
  term: number;
  wal: Wal;
  retention: Retention;
  /** Takes a snapshot. */
  take: () => PchannelSnapshot;
  snapshots: Snapshots;
  /** How often one is saved at most, in milliseconds. */
  intervalMs: Live<number>;
  clock: Clock;
  logger: Logger;
}

/** Keeps a pchannel's snapshot. */
export interface Keeper {
  start(): void;
  /** Ends; what is being saved is given up. */
  stop(): Promise<void>;
  /** Saves once more, giving up after `ms`. */
  saveLast(ms: number): Promise<void>;
  /** Aborted when an owner of a higher term has claimed the pchannel. */
  readonly signal: AbortSignal;
}

/** A snapshot that takes long to save is saved more seldom: the pause is so many times as long. */
const restFactor = 20;

/**
 * Saves a snapshot whenever something has changed, and then truncates the log: never behind what the
 * saved snapshot says is in tables, and never what readers may still want.
 */
export function createKeeper(options: KeeperOptions): Keeper {
  const { pchannel, term, wal, retention, take, snapshots, clock, logger } = options;
  const intervalMs = readLive(options.intervalMs);
  const ending = new AbortController();
  const fenced = new AbortController();
  let saved = { log: -1, flushed: -1 };
  let running: Promise<void> | undefined;
  let wake: () => void = () => undefined;

  const save = async (signal: AbortSignal): Promise<void> => {
    const snapshot = take();
    const state = { log: snapshot.wal.sequence, flushed: snapshot.flusher.sequence };
    if (state.log === saved.log && state.flushed === saved.flushed) return;
    await snapshots.save(pchannel, term, snapshot, signal);
    saved = state;
  };

  const truncate = async (): Promise<void> => {
    const before = Math.min(saved.flushed, retention.horizon(clock.now()));
    if (before > wal.bounds().first) await wal.truncate(before);
  };

  const report = (error: unknown): void => {
    const { code, message } = MillraceError.from(error);
    logger.warn("the snapshot cannot be saved", { pchannel, term, code, reason: message });
    if (code === "CHANNEL_FENCED") fenced.abort(error);
  };

  const loop = async (): Promise<void> => {
    for (let took = 0; !ending.signal.aborted; ) {
      await new Promise<void>((resolve) => {
        const cancel = clock.schedule(Math.max(intervalMs(), took * restFactor), resolve);
        wake = () => {
          cancel();
          resolve();
        };
      });
      if (ending.signal.aborted) return;
      const began = clock.monotonic();
      try {
        await save(ending.signal);
        await truncate();
      } catch (error) {
        if (!ending.signal.aborted) report(error);
      }
      took = clock.monotonic() - began;
    }
  };

  return {
    signal: fenced.signal,
    start() {
      running ??= loop();
    },
    async stop() {
      ending.abort(new MillraceError("ON_SHUTDOWN", "the pchannel is closed"));
      wake();
      await running;
    },
    async saveLast(ms) {
      try {
        await withTimeLimit(clock, ms, undefined, save);
      } catch (error) {
        report(error);
      }
    },
  };
}
