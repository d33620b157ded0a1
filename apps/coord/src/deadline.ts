/**
 * Limits of time, on the clock that is handed in.
 *
 * @module
 */

import { type Clock, MillraceError } from "@millrace/types";

/** Runs a call with a signal that is aborted after `ms`, or by the signals given. */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  signals: readonly AbortSignal[],
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const cancel = clock.schedule(ms, () =>
    deadline.abort(new MillraceError("DEADLINE_EXCEEDED", `no answer within ${ms} ms`)),
  );
  try {
    return await call(AbortSignal.any([...signals, deadline.signal]));
  } finally {
    cancel();
  }
}

/** Waits for work that goes on by itself, but not longer than `ms`: then fails with `late()`. */
export async function waitAtMost<T>(
  clock: Clock,
  ms: number,
  work: Promise<T>,
  late: () => MillraceError,
): Promise<T> {
  let cancel = (): void => undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    cancel = clock.schedule(ms, () => reject(late()));
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    cancel();
  }
}
