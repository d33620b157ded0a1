/**
 * Suite: what can be asked to be measured.
 *
 * @module
 */

import type { Measurement } from "./report.ts";

/** Options of a {@linkcode Suite}. */
export interface SuiteOptions {
  /** An empty folder; removed afterwards. */
  dir: string;
  /** Only the parts whose name contains this. */
  only: string;
  /** How often all are measured in turn. */
  rounds: number;
  /** How long a run of throughput takes, in milliseconds. */
  ms: number;
  /** How many appends memory is watched over. */
  appends: number;
  /** Much smaller than what would mean something. */
  quick: boolean;
}

/** Answers measurements as they are made. */
export type Suite = (options: SuiteOptions) => AsyncIterable<Measurement>;
