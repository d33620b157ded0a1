/**
 * Limits of time, on the clock that is handed in.
 *
 * @module
 */

import type { Clock, MillraceError } from "@millrace/types";

/** Makes a call whose signal is aborted with `late()` after `ms`. */
export async function withDeadline<T>(
  clock: Clock,
  ms: number,
  late: () => MillraceError,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const cancel = clock.schedule(ms, () => limit.abort(late()));
  try {
    return await call(limit.signal);
  } finally {
    cancel();
  }
}
