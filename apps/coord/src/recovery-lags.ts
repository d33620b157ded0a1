/**
 * How far owners are from having recovered what they took over, as they said last.
 *
 * @module
 */

import { tickToMs } from "@millrace/types";
import type { WalStatus } from "@millrace/types/gen";

/** What owners said last. */
export interface RecoveryLags {
  /** Takes in what all owners say; what was said before is forgotten. */
  hear(wals: readonly WalStatus[]): void;
  /** How far the flusher is behind the log, in milliseconds; `undefined` if that was not heard. */
  lagMs(pchannel: string, term: number): number | undefined;
}

/** Nothing was heard yet. */
export function createRecoveryLags(): RecoveryLags {
  let lags = new Map<string, number>();
  return {
    hear(wals) {
      lags = new Map(
        wals.map(({ name, term, lastTick, readTick }) => [
          `${name}@${term}`,
          Math.max(0, tickToMs(lastTick) - tickToMs(readTick)),
        ]),
      );
    },
    lagMs: (pchannel, term) => lags.get(`${pchannel}@${term}`),
  };
}
