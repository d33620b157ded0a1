/**
 * Calls that must not take for ever.
 *
 * @module
 */

import { type Clock, MillraceError } from "@millrace/types";

/** Makes a call whose signal is aborted with `DEADLINE_EXCEEDED` after `ms`, or with the outer one. */
export async function withTimeLimit<T>(
  clock: Clock,
  ms: number,
  outer: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const onAbort = (): void => limit.abort(outer?.reason);
  if (outer?.aborted) onAbort();
  outer?.addEventListener("abort", onAbort, { once: true });
  const cancel = clock.schedule(ms, () => {
    limit.abort(new MillraceError("DEADLINE_EXCEEDED", `no answer within ${ms} ms`));
  });
  try {
    return await call(limit.signal);
  } finally {
    cancel();
    outer?.removeEventListener("abort", onAbort);
  }
}
