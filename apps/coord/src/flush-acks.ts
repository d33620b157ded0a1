/**
 * Acknowledges copies of broadcasts that wait until the tables have caught up with them.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import type { Broadcaster } from "@millrace/broadcaster";
import { type Clock, type Logger, pchannelOf, type Tick, withTimeLimit } from "@millrace/types";
import { GetFlushCheckpointsRequestSchema } from "@millrace/types/gen";
import type { Nodes } from "./nodes.ts";
import type { ServingOwner } from "./vchannel-append.ts";

/** Options of {@linkcode startFlushAcks}. */
export interface FlushAcksOptions {
  broadcaster: Broadcaster;
  nodes: Nodes;
  /** `undefined`: nobody at this moment. */
  ownerOf: (pchannel: string) => ServingOwner | undefined;
  clock: Clock;
  logger: Logger;
  /** How often nodes are asked while a broadcast waits, in milliseconds. Default 200. */
  intervalMs?: number;
}

/** What asks until it is closed. */
export interface FlushAcks {
  /** Ends it, and waits for the calls under way. */
  close(): Promise<void>;
}

/** A copy that waits. */
interface Waiting {
  id: bigint;
  vchannel: string;
  tick: Tick;
}

/** How long a node may take to say how far it is, in milliseconds. */
const answerMs = 2000;

/** Starts it. */
export function startFlushAcks(options: FlushAcksOptions): FlushAcks {
  const { broadcaster, nodes, ownerOf, clock, logger, intervalMs = 200 } = options;
  const closing = new AbortController();
  const { signal } = closing;
  let running: Promise<unknown> = Promise.resolve();
  let cancel = (): void => undefined;

  /** By pchannel. */
  const waiting = (): Map<string, Waiting[]> => {
    const found = new Map<string, Waiting[]>();
    for (const { id, state, copies } of broadcaster.tasks()) {
      if (state !== "acking") continue;
      for (const { vchannel, state: of, tick } of copies) {
        if (of !== "appended" || tick === undefined) continue;
        const pchannel = pchannelOf(vchannel);
        found.set(pchannel, [...(found.get(pchannel) ?? []), { id, vchannel, tick }]);
      }
    }
    return found;
  };

  const ask = async (pchannel: string, copies: readonly Waiting[]): Promise<void> => {
    const owner = ownerOf(pchannel);
    if (!owner) return;
    const request = create(GetFlushCheckpointsRequestSchema, {
      pchannel: { name: pchannel, term: BigInt(owner.term) },
      vchannels: copies.map(({ vchannel }) => vchannel),
    });
    try {
      const checkpoints = await withTimeLimit(clock, answerMs, signal, (limit) =>
        nodes.flushCheckpoints(owner.address, request, limit),
      );
      const ticks = new Map(checkpoints.map(({ vchannel, tick }) => [vchannel, tick]));
      for (const { id, vchannel, tick } of copies) {
        if ((ticks.get(vchannel) ?? 0n) >= tick) await broadcaster.ack(id, vchannel);
      }
    } catch (error) {
      logger.debug("how far tables are is not known yet", { pchannel, error });
    }
  };

  const next = (): void => {
    cancel = clock.schedule(intervalMs, () => {
      const asked = [...waiting()].map(([pchannel, copies]) => ask(pchannel, copies));
      running = Promise.all(asked).then(() => {
        if (!signal.aborted) next();
      });
    });
  };
  next();

  return {
    async close() {
      closing.abort();
      cancel();
      await running;
    },
  };
}
