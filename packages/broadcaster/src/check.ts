/**
 * What a broadcast must look like.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { BroadcastPlan } from "./contracts.ts";

const maxKeyLength = 512;
const maxVchannels = 1024;
const maxVchannelLength = 512;
// With a place for each copy the record of a task stays below what a MetaStore takes.
const maxMessageBytes = 512 * 1024;

/** Refuses a type without a callback, and a key that is too long, with `INVALID_ARGUMENT`. */
export function checkRequest(
  type: number,
  idempotencyKey: string,
  callbacks: ReadonlyMap<number, unknown>,
): void {
  if (!callbacks.has(type)) throw invalid("type", `${type} has no callback; register one`);
  if (idempotencyKey.length > maxKeyLength) {
    const { length } = idempotencyKey;
    throw invalid("idempotencyKey", `has ${length} characters; ${maxKeyLength} are allowed`);
  }
}

/** Refuses what cannot be broadcast with `INVALID_ARGUMENT`. */
export function checkPlan({ header, payload, vchannels }: BroadcastPlan, control: string): void {
  const bytes = header.length + (payload?.length ?? 0);
  if (bytes > maxMessageBytes) {
    throw invalid("message", `has ${bytes} bytes; at most ${maxMessageBytes} are allowed`);
  }
  if (vchannels.length < 1 || vchannels.length > maxVchannels) {
    throw invalid("vchannels", `must be 1 to ${maxVchannels}, got ${vchannels.length}`);
  }
  for (const [index, vchannel] of vchannels.entries()) {
    const field = `vchannels[${index}]`;
    if (vchannel === "" || vchannel.length > maxVchannelLength) {
      throw invalid(field, `must have 1 to ${maxVchannelLength} characters`);
    }
    if (vchannel === control)
      throw invalid(field, "is the control channel, which has a copy anyway");
  }
  if (new Set(vchannels).size < vchannels.length) throw invalid("vchannels", "names one twice");
}

function invalid(field: string, problem: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", `${field} ${problem}`, { field });
}
