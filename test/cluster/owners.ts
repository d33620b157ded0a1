/**
 * Who owns which pchannel, as coordinators tell it while a test runs.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import { createClient, type Transport } from "@connectrpc/connect";
import { AssignmentService } from "@millrace/types/gen";
import type { Record } from "./record.ts";

/** Writes each term down when it is served, until the signal is aborted. */
export function watchOwners(
  coords: readonly Transport[],
  record: Record,
  signal: AbortSignal,
): Promise<unknown> {
  const terms = new Map<string, number>();
  const watch = async (transport: Transport): Promise<void> => {
    const client = createClient(AssignmentService, transport);
    while (!signal.aborted) {
      try {
        for await (const { nodes } of client.discover({}, { signal })) {
          for (const { name, term } of nodes.flatMap(({ pchannels }) => pchannels)) {
            // A coordinator that is late tells what is over.
            if (Number(term) <= (terms.get(name) ?? 0)) continue;
            terms.set(name, Number(term));
            record.events.push({ kind: "opened", pchannel: name, term: Number(term) });
          }
        }
      } catch {
        // It stands by, is away, or was deposed.
      }
      if (!signal.aborted) await sleep(50);
    }
  };
  return Promise.all(coords.map(watch));
}
