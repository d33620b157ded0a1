/**
 * Ticker: lets a log's time go on while nothing is appended.
 *
 * Every so often a tick is confirmed. It is written to the log only if something was written since the last
 * one that was, so that whoever reads the log alone learns that nothing is missing; a log at rest costs
 * no writes.
 *
 * @module
 */

import type { Clock, Tick } from "@millrace/types";
import { timeTick } from "./append/message-types.ts";
import type { RecordBatch } from "./record-batch.ts";

/** Options of {@linkcode createTicker}. */
export interface TickerOptions {
  clock: Clock;
  /** How often there is a tick, in milliseconds. Default 200, as in Milvus. */
  everyMs?: number | undefined;
  /** Confirms a tick without writing it. */
  sync: () => Promise<Tick>;
  /** Writes a TIME_TICK message. */
  write: () => Promise<void>;
  /** Called after each of the two. */
  onTick: () => void;
  onError: (error: unknown) => void;
}

/** Lets a log's time go on. */
export interface Ticker {
  /** A batch was written. */
  wrote(batch: RecordBatch): void;
  /** Ends, after the tick that is under way. */
  stop(): Promise<void>;
}

/** How long the pause becomes at most while ticks fail, in milliseconds. */
const maxPauseMs = 5000;

/** Creates a ticker and starts it. */
export function createTicker(options: TickerOptions): Ticker {
  const { clock, everyMs = 200, sync, write, onTick, onError } = options;
  let isWritten = true;
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  let cancel: () => void = () => undefined;
  let failures = 0;

  const tick = async (): Promise<void> => {
    try {
      await (isWritten ? sync() : write());
      failures = 0;
      onTick();
    } catch (error) {
      failures++;
      if (!stopped) onError(error);
    }
    schedule();
  };
  const schedule = (): void => {
    if (stopped) return;
    cancel = clock.schedule(Math.min(maxPauseMs, everyMs * 2 ** failures), () => {
      running = tick();
    });
  };
  schedule();

  return {
    wrote(batch) {
      isWritten = isTickAlone(batch);
    },
    async stop() {
      stopped = true;
      cancel();
      await running;
    },
  };
}

function isTickAlone(batch: RecordBatch): boolean {
  if (batch.count > 1) return false;
  for (const { type } of batch.messages()) return type === timeTick;
  return false;
}
