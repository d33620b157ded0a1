/**
 * The copies of one broadcast, and how each comes into its vchannel.
 *
 * @module
 */

import { type Logger, MillraceError } from "@millrace/types";
import type { CopyInfo, VchannelAppend } from "./contracts.ts";
import type { Backoff } from "./backoff.ts";
import type { PendingTask } from "./task-record.ts";

/** Options of {@linkcode createCopies}. */
export interface CopiesOptions {
  /** Where copies stand is kept here. */
  record: PendingTask;
  /** An earlier broadcaster may have tried to append what is not known to be appended. */
  resumed: boolean;
  append: VchannelAppend;
  backoff: Backoff;
  logger: Logger;
}

/** The copies of one broadcast. */
export interface Copies {
  /** vchannels that have no copy yet and are not left out. */
  missing(): string[];
  /** vchannels that have acknowledged nothing yet, must, and are not left out. */
  unacked(): string[];
  /** vchannels that have a copy, or of which it is not certain that they have none. */
  there(): string[];
  /**
   * Appends what is missing, each copy until it is there. Ends when all of that has ended; rejects with
   * the signal's reason when it is aborted.
   */
  appendMissing(signal: AbortSignal, onAppended: () => void): Promise<void>;
  info(): CopyInfo[];
}

interface Copy {
  state: "waiting" | "unknown" | "appended";
  failures: number;
  problem: string;
}

/** What an append that had no effect fails with, unless it says that it may have had one. */
const withoutEffect: ReadonlySet<string> = new Set([
  "CHANNEL_NOT_EXIST",
  "UNMATCHED_CHANNEL_TERM",
  "VCHANNEL_NOT_EXIST",
  "INVALID_ARGUMENT",
  "COLLECTION_NOT_FOUND",
  "PARTITION_NOT_FOUND",
  "SCHEMA_VERSION_MISMATCH",
  "RESOURCE_EXHAUSTED",
  "UNIMPLEMENTED",
]);

/** Creates the copies of a task. */
export function createCopies(options: CopiesOptions): Copies {
  const { record, append, backoff, logger } = options;
  const { id, message, vchannels, control, results, acked } = record;
  const copies = new Map<string, Copy>();
  for (const vchannel of vchannels) {
    const state = results.has(vchannel) ? "appended" : options.resumed ? "unknown" : "waiting";
    copies.set(vchannel, { state, failures: 0, problem: "" });
  }

  const isLeftOut = (vchannel: string): boolean => record.leftOut.includes(vchannel);
  const missing = (): string[] => vchannels.filter((v) => !results.has(v) && !isLeftOut(v));

  const attempt = async (vchannel: string, copy: Copy, signal: AbortSignal): Promise<void> => {
    const before = copy.state;
    copy.state = "unknown";
    try {
      const idempotencyKey = `broadcast/${id}`;
      results.set(vchannel, await append(vchannel, message, { id, idempotencyKey, signal }));
      copy.state = "appended";
      copy.problem = "";
    } catch (error) {
      const { code, message: problem, maybeApplied } = MillraceError.from(error);
      if (withoutEffect.has(code) && !maybeApplied) copy.state = before;
      signal.throwIfAborted();
      copy.failures += 1;
      copy.problem = problem;
      logger.warn("a copy could not be appended, it will be tried again", { id, vchannel, error });
    }
  };

  const appendOne = async (vchannel: string, copy: Copy, signal: AbortSignal): Promise<void> => {
    for (let failures = 0; ; failures++) {
      signal.throwIfAborted();
      await attempt(vchannel, copy, signal);
      if (results.has(vchannel)) return;
      await backoff.wait(failures, signal);
    }
  };

  const stateOf = (vchannel: string, { state }: Copy): CopyInfo["state"] => {
    if (isLeftOut(vchannel)) return "left-out";
    if (state !== "appended") return state;
    const isAcked = record.ackWhen === "appended" || vchannel === control || acked.has(vchannel);
    return isAcked ? "acked" : "appended";
  };

  return {
    missing,
    unacked() {
      if (record.ackWhen === "appended") return missing();
      return vchannels.filter((v) => v !== control && !acked.has(v) && !isLeftOut(v));
    },
    there: () => [...copies].filter(([, { state }]) => state !== "waiting").map(([v]) => v),
    async appendMissing(signal, onAppended) {
      const appends = missing().map(async (vchannel) => {
        await appendOne(vchannel, copies.get(vchannel) as Copy, signal);
        onAppended();
      });
      const ends = await Promise.allSettled(appends);
      const failed = ends.find((end) => end.status === "rejected");
      if (failed) throw failed.reason;
    },
    info: () =>
      [...copies].map(([vchannel, copy]) => {
        const { failures, problem } = copy;
        const tick = results.get(vchannel)?.tick;
        return { vchannel, state: stateOf(vchannel, copy), tick, failures, problem };
      }),
  };
}
