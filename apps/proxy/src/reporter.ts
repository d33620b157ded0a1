/**
 * Telling the coordinator which owners were not reached.
 *
 * @module
 */

import { createClient, type Transport } from "@connectrpc/connect";
import { type Clock, type Logger, type MillraceError, withTimeLimit } from "@millrace/types";
import { AssignmentService } from "@millrace/types/gen";

/** Options of {@linkcode createReporter}. */
export interface ReporterOptions {
  coord: Transport;
  clock: Clock;
  logger: Logger;
}

/** Reports that the owner of a pchannel at a term failed a call. Never rejects. */
export type Reporter = (pchannel: string, term: bigint, error: MillraceError) => Promise<void>;

const timeoutMs = 2000;

/** Makes reports, one at a time for each pchannel and term: thousands of calls may fail at once. */
export function createReporter({ coord, clock, logger }: ReporterOptions): Reporter {
  const client = createClient(AssignmentService, coord);
  const underWay = new Set<string>();
  return async (name, term, { code, message }) => {
    const key = `${name}@${term}`;
    if (underWay.has(key)) return;
    underWay.add(key);
    try {
      await withTimeLimit(clock, timeoutMs, undefined, (signal) =>
        client.reportError({ pchannel: { name, term }, code, message }, { signal }),
      );
    } catch (error) {
      logger.debug("a report did not reach the coordinator", { pchannel: name, term, error });
    } finally {
      underWay.delete(key);
    }
  };
}
