/**
 * How much may be on its way at once.
 *
 * @module
 */

import { type Live, MillraceError, readLive } from "@millrace/types";

const retryAfterMs = 100;

/**
 * Counts bytes that are on their way. What does not fit is `RESOURCE_EXHAUSTED`, with a delay; what
 * would never fit is let in alone.
 */
export function createAdmission(maxBytes: Live<number>): (bytes: number) => { release(): void } {
  const most = readLive(maxBytes);
  let used = 0;
  return (bytes) => {
    if (used > 0 && used + bytes > most()) {
      throw new MillraceError(
        "RESOURCE_EXHAUSTED",
        `${used} bytes of rows wait for their logs, and at most ${most()} may; send again later`,
        { retryAfterMs },
      );
    }
    used += bytes;
    return {
      release() {
        used -= bytes;
      },
    };
  };
}
