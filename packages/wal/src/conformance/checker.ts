/**
 * Checker: compares what the users of a log were told with what its readers saw. In time proportional
 * to the length of the history.
 *
 * @module
 */

import { checkAppends } from "./check/appends.ts";
import { checkDeliveryReaders } from "./check/deliveries.ts";
import type { Violation } from "./check/facts.ts";
import { gatherFacts } from "./check/gather.ts";
import { checkBatchReaders, gatherLog } from "./check/log.ts";
import type { HistoryEvent } from "./history.ts";

export type { Violation, ViolationKind } from "./check/facts.ts";

/** Options of {@linkcode checkHistory}. */
export interface CheckOptions {
  /** Appends of one owner are acknowledged in the order in which they stand in the log. Default true. */
  ordered?: boolean;
}

/**
 * Says what is wrong with a history; nothing if all is well. It knows the log from the readers of
 * batches alone: for a verdict on everything, let one of them begin at the earliest place after all is
 * written, and one follow the log while it is truncated. Throws an `Error` if the history itself makes
 * no sense, such as an outcome without an operation.
 */
export function checkHistory(
  history: readonly HistoryEvent[],
  options: CheckOptions = {},
): Violation[] {
  const violations: Violation[] = [];
  const report = (kind: Violation["kind"], message: string): void => {
    violations.push({ kind, message });
  };
  const facts = gatherFacts(history, options.ordered ?? true, report);
  const log = gatherLog(facts, report);
  checkBatchReaders(facts, log, report);
  checkAppends(facts, log, report);
  checkDeliveryReaders(facts, log, report);
  return violations;
}
