/**
 * Limits of time, on the clock that is handed in.
 *
 * @module
 */

import type { Clock, MillraceError } from "@millrace/types";

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
