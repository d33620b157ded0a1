/**
 * Calls to whoever owns a pchannel, wherever it moves meanwhile.
 *
 * @module
 */

import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { fromConnectError, type TransportFor } from "@millrace/rpc";
import {
  backoffDelay,
  type Clock,
  delay,
  type ErrorCode,
  type Logger,
  MillraceError,
  type Random,
} from "@millrace/types";
import { HandlerService } from "@millrace/types/gen";
import type { Assignments, Owner } from "./assignments.ts";
import { createGate } from "./gate.ts";
import { createReporter } from "./reporter.ts";
import { createScope } from "./scope.ts";

/** One try of a call, at the owner of this moment. */
export type OwnerCall<T> = (
  handler: Client<typeof HandlerService>,
  pchannel: { name: string; term: bigint },
  signal: AbortSignal,
) => Promise<T>;

/** Calls to owners. */
export interface Owners {
  /**
   * Calls the owner of a pchannel until it answers: again at the new owner when it moves, again when
   * the connection breaks. The call must be safe to repeat. `UNAVAILABLE` after the owner timeout;
   * other errors of the owner come as they are, with `maybeApplied` if an earlier try may have been.
   */
  call<T>(pchannel: string, signal: AbortSignal, call: OwnerCall<T>): Promise<T>;
  /** The owner of a pchannel, once it has one; waits as long as the signal lets it. */
  find(pchannel: string, signal: AbortSignal): Promise<Owner>;
  /** The client of an owner. */
  handlerOf(owner: Owner): Client<typeof HandlerService>;
  /**
   * After a failed try: tells the coordinator, and resolves when it is worth another, which is when
   * the owner has changed or some time has passed.
   */
  recover(failure: OwnerFailure, signal: AbortSignal): Promise<void>;
}

/** A try that failed. */
export interface OwnerFailure {
  pchannel: string;
  owner: Owner;
  error: MillraceError;
  /** How many tries failed before it. */
  attempt: number;
}

/** Options of {@linkcode createOwners}. */
export interface OwnersOptions {
  assignments: Assignments;
  coord: Transport;
  transportFor: TransportFor;
  clock: Clock;
  random: Random;
  logger: Logger;
  /** How long a call is tried, in milliseconds; asked for with each call. */
  timeoutMs: () => number;
}

/** What an owner that is moving, or a connection to it, fails with. */
const movedCodes: readonly ErrorCode[] = [
  "CHANNEL_NOT_EXIST",
  "UNMATCHED_CHANNEL_TERM",
  "CHANNEL_FENCED",
  "ON_SHUTDOWN",
  "UNAVAILABLE",
];

const minPauseMs = 10;
/** How often a call that waits for another one's try looks whether it may go on, in milliseconds. */
const gateMs = 50;

/** `true` if the same call may succeed at another owner, or at this one a little later. */
export function isMoved(error: MillraceError): boolean {
  return movedCodes.includes(error.code);
}

/** Makes calls to owners. */
export function createOwners(options: OwnersOptions): Owners {
  const { assignments, transportFor, clock, random } = options;
  const report = createReporter(options);
  const gate = createGate();

  const owners: Owners = {
    handlerOf: (owner) => createClient(HandlerService, transportFor(owner.address)),

    async find(pchannel, signal) {
      for (;;) {
        const owner = assignments.ownerOf(pchannel);
        if (owner) return owner;
        await assignments.changed(pchannel, undefined, options.timeoutMs(), signal);
      }
    },

    async recover({ pchannel, owner, error, attempt }, signal) {
      void report(pchannel, owner.term, error);
      const pause = backoffDelay(attempt, random, { initialMs: 20, maxMs: 500 });
      await assignments.changed(pchannel, owner, pause, signal);
      // A new owner may fail as fast as the old one; never spin.
      if (attempt > 0) await delay(clock, minPauseMs, signal);
    },

    async call(pchannel, signal, call) {
      const scope = createScope(signal);
      const visitor = {};
      const timeoutMs = options.timeoutMs();
      let place = "";
      let last: MillraceError | undefined;
      let maybeApplied = false;
      const cancel = clock.schedule(timeoutMs, () => scope.abort(timeout));
      try {
        for (let attempt = 0; ; ) {
          const owner = await owners.find(pchannel, scope.signal);
          const found = `${pchannel}@${owner.term}`;
          if (found !== place) gate.leave(place, visitor);
          place = found;
          if (!gate.isOpen(place, visitor)) {
            await assignments.changed(pchannel, owner, gateMs, scope.signal);
            continue;
          }
          try {
            const target = { name: pchannel, term: owner.term };
            const answer = await call(owners.handlerOf(owner), target, scope.signal);
            gate.clear(place);
            return answer;
          } catch (reason) {
            const error = MillraceError.from(reason);
            // A try that was cut by the end of the time has an outcome that nobody knows.
            maybeApplied ||= error.maybeApplied || scope.signal.aborted;
            if (scope.signal.aborted || !isMoved(error)) throw error;
            last = error;
            gate.trip(place, visitor);
            if (!gate.isOpen(place, visitor)) continue;
            await owners.recover({ pchannel, owner, error, attempt }, scope.signal);
            attempt++;
          }
        }
      } catch (reason) {
        if (signal.aborted) {
          throw withMaybeApplied(fromConnectError(signal.reason, signal), maybeApplied);
        }
        if (scope.signal.aborted) throw unavailable(pchannel, timeoutMs, last, maybeApplied);
        throw withMaybeApplied(MillraceError.from(reason), maybeApplied);
      } finally {
        cancel();
        scope.release();
        gate.leave(place, visitor);
      }
    },
  };
  return owners;
}

const timeout = new MillraceError("DEADLINE_EXCEEDED", "the owner did not answer in time");

function unavailable(
  pchannel: string,
  timeoutMs: number,
  last: MillraceError | undefined,
  maybeApplied: boolean,
): MillraceError {
  const why = last ? `: ${last.message}` : ": no node owns it";
  return new MillraceError(
    "UNAVAILABLE",
    `${pchannel} was not reached within ${timeoutMs} ms${why}; send the call again with the same idempotency key`,
    { maybeApplied, cause: last },
  );
}

function withMaybeApplied(error: MillraceError, maybeApplied: boolean): MillraceError {
  if (!maybeApplied || error.maybeApplied) return error;
  const { code, message, field, retryable, expected, retryAfterMs } = error;
  return new MillraceError(code, message, {
    ...(field !== undefined && { field }),
    ...(expected !== undefined && { expected }),
    retryable,
    retryAfterMs,
    maybeApplied,
    cause: error,
  });
}
