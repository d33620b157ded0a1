/**
 * How long the stages of the way of a batch take.
 *
 * @module
 */

import { type Live, type Logger, readLive } from "@millrace/types";
import type { StageTiming, WalStatus } from "./wal.ts";

/** The stages, in order. */
export type Stage = keyof WalStatus["stages"];

/** Times of one batch, in milliseconds, stage by stage. */
export type BatchTimes = Record<Stage, number>;

/** Counts the times of batches. */
export interface Timings {
  add(times: BatchTimes): void;
  stages(): Record<Stage, StageTiming>;
}

const stages: readonly Stage[] = ["queued", "ticks", "encoded", "written"];
/** Creates the timings of a log; batches that take more than `slowMs` are logged with `fields`. */
export function createTimings(
  logger: Logger,
  fields: Record<string, unknown>,
  slowMs: Live<number> = 1000,
): Timings {
  const most = readLive(slowMs);
  const all = Object.fromEntries(
    stages.map((stage) => [stage, { count: 0, totalMs: 0, maxMs: 0 }]),
  ) as Record<Stage, StageTiming>;
  return {
    add(times) {
      let total = 0;
      for (const stage of stages) {
        const ms = times[stage];
        const timing = all[stage];
        timing.count++;
        timing.totalMs += ms;
        if (ms > timing.maxMs) timing.maxMs = ms;
        total += ms;
      }
      if (total > most()) logger.warn("a batch was slow", { ...fields, ...times });
    },
    stages: () =>
      Object.fromEntries(stages.map((stage) => [stage, { ...all[stage] }])) as Record<
        Stage,
        StageTiming
      >,
  };
}
