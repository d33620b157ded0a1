/**
 * Work on pchannels: one operation at a time for each of them, what fails is tried again.
 *
 * @module
 */

import { backoffDelay, type Clock, type Logger, type Random } from "@millrace/types";
import type { Channel } from "./channel.ts";
import { markUnavailable, prefer } from "./channel-state.ts";
import type { BalancerNode, Mover } from "./mover.ts";

/** Options of {@linkcode createOperations}. */
export interface OperationsOptions {
  channels: ReadonlyMap<string, Channel>;
  mover: Mover;
  /** Looks at what is to be done; called when a retry is due, and soon after operations have ended. */
  plan: () => void;
  clock: Clock;
  random: Random;
  logger: Logger;
  /** Ends whatever is under way; nothing is planned any more. */
  signal: AbortSignal;
}

/** Work on pchannels. No operation may be begun while the pchannel has one. */
export interface Operations {
  /** Gives a pchannel to a node, where an operator wants it or not; without one takes it from its owner. */
  move(channel: Channel, target: BalancerNode | undefined, preferred: boolean): Promise<void>;
  /** Notes that an operator wants a pchannel where it is. */
  keep(channel: Channel, node: BalancerNode): Promise<void>;
  /** Notes that the owner at `term` does not serve a pchannel, if that is its present term. */
  markUnavailable(channel: Channel, term: number): Promise<void>;
  /** Makes retries that wait for their time due. */
  hurry(): void;
  /** Resolves when nothing is under way any more. Abort the signal first. */
  close(): Promise<void>;
}

/** Operations that end within this time, in milliseconds, are followed by one look. */
const gatherMs = 5;

/** Creates {@linkcode Operations}. Rejections of theirs are logged already, and tried again. */
export function createOperations(options: OperationsOptions): Operations {
  const { channels, mover, plan, clock, random, logger, signal } = options;
  const running = new Set<Promise<void>>();
  let cancelSoon: (() => void) | undefined;

  const planSoon = (): void => {
    if (signal.aborted) return;
    cancelSoon ??= clock.schedule(gatherMs, () => {
      cancelSoon = undefined;
      plan();
    });
  };

  const occupy = (
    channel: Channel,
    target: Channel["target"],
    work: () => Promise<void>,
  ): Promise<void> => {
    const operate = async (): Promise<void> => {
      try {
        await work();
      } finally {
        channel.operation = undefined;
        channel.target = undefined;
        running.delete(operation);
        planSoon();
      }
    };
    channel.target = target;
    const operation = operate();
    channel.operation = operation;
    running.add(operation);
    return operation;
  };

  const failed = (channel: Channel, target: BalancerNode | undefined, error: unknown): void => {
    const { name: pchannel, term } = channel.record;
    logger.warn("a pchannel could not be moved", { pchannel, term, node: target?.nodeId, error });
    if (target?.gone.aborted) {
      channel.failures = 0;
      return;
    }
    const wait = backoffDelay(channel.failures, random);
    channel.failures += 1;
    channel.notBefore = clock.monotonic() + wait;
    channel.cancelRetry = clock.schedule(wait, plan);
  };

  return {
    move(channel, target, preferred) {
      channel.cancelRetry();
      return occupy(channel, target, async () => {
        try {
          await mover.move(channel, target, { preferred });
          channel.failures = 0;
          channel.notBefore = 0;
          if (target) channel.assignedAt = clock.monotonic();
        } catch (error) {
          if (!signal.aborted) failed(channel, target, error);
          throw error;
        }
      });
    },
    keep: (channel, node) =>
      occupy(channel, channel.record.owner, () =>
        mover.save(channel, (record) => prefer(record, node)),
      ),
    markUnavailable: (channel, term) =>
      occupy(channel, channel.record.owner, () =>
        mover.save(channel, (record) => markUnavailable(record, term)),
      ),
    hurry() {
      for (const channel of channels.values()) {
        channel.notBefore = 0;
        channel.failures = 0;
      }
    },
    async close() {
      cancelSoon?.();
      for (const channel of channels.values()) channel.cancelRetry();
      await Promise.allSettled(running);
    },
  };
}
