/**
 * What requests to a node have in common.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { PchannelTerm } from "@millrace/types/gen";

/** The pchannel and term that a request names. Throws `INVALID_ARGUMENT`. */
export function pchannelTerm(request: { pchannel?: PchannelTerm | undefined }): {
  name: string;
  term: number;
} {
  const { name = "", term = 0n } = request.pchannel ?? {};
  if (name === "") throw invalid("pchannel.name", "must not be empty");
  return { name, term: safeNumber(term, "pchannel.term") };
}

/** A number of 64 bits that must not exceed 2^53 - 1. Throws `INVALID_ARGUMENT`. */
export function safeNumber(value: bigint, field: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw invalid(field, `must be at most 2^53 - 1, got ${value}`);
}

/** `INVALID_ARGUMENT` for a field; the message is its path and what is wrong with it. */
export function invalid(field: string, problem: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
}
