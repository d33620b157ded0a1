/**
 * Time ticks for the logs of a node, from blocks that the coordinator lends.
 *
 * @module
 */

import type { Client } from "@connectrpc/connect";
import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  type Random,
  type Tick,
  type TickBlock,
  type TickSource,
  withTimeLimit,
} from "@millrace/types";
import type { AllocatorService } from "@millrace/types/gen";

/** Options of {@linkcode createLeasedTicks}. */
export interface LeasedTicksOptions {
  allocator: Client<typeof AllocatorService>;
  clock: Clock;
  random: Random;
  logger: Logger;
  /** Ticks to ask for at a time. Default 65536, which is a quarter of a millisecond's. */
  blockTicks?: number;
  /** How long a call waits while the coordinator is away, in milliseconds. Default 5000. */
  waitMs?: number;
}

/** Ticks from leased blocks. */
export interface LeasedTicks extends TickSource {
  /** Ends all waiting, with `ON_SHUTDOWN`. */
  close(): void;
}

interface Block {
  next: Tick;
  end: Tick;
  /** On the monotonic clock. */
  expires: number;
  /** From here on another block is fetched ahead. */
  stale: number;
}

interface Waiter {
  count: number;
  after: Tick;
  since: number;
  resolve(block: TickBlock): void;
  reject(error: MillraceError): void;
}

/** No block is used for longer, whatever the coordinator says, so that ticks follow real time. */
const maxLeaseMs = 50;
/** How long a coordinator may take to lend a block, in milliseconds; then another one is asked. */
const fetchMs = 1000;

/**
 * Ticks from leased blocks, shared by all logs of a node. Under load a block is fetched before the
 * last one is used up, so that a call seldom waits; at rest none is fetched.
 *
 * A call fails with `UNAVAILABLE` if the coordinator is away for `waitMs`, and with
 * `INVALID_ARGUMENT` if `after` lies ahead of the cluster's time.
 */
export function createLeasedTicks(options: LeasedTicksOptions): LeasedTicks {
  const { allocator, clock, random, logger, blockTicks = 65_536, waitMs = 5000 } = options;
  const ending = new AbortController();
  const { signal } = ending;
  const waiters: Waiter[] = [];
  let current: Block | undefined;
  let spare: Block | undefined;
  let fetching = false;

  const takeFrom = (
    block: Block | undefined,
    count: number,
    after: Tick,
  ): TickBlock | undefined => {
    if (!block || clock.monotonic() >= block.expires) return undefined;
    const first = block.next > after ? block.next : after + 1n;
    const end = first + BigInt(count);
    if (end > block.end) return undefined;
    block.next = end;
    return { first, count };
  };

  const tryTake = (count: number, after: Tick): TickBlock | undefined => {
    let taken = takeFrom(current, count, after);
    if (!taken && spare) {
      current = spare;
      spare = undefined;
      taken = takeFrom(current, count, after);
    }
    if (taken && current && !spare && clock.monotonic() >= current.stale) ensureFetching();
    return taken;
  };

  const settle = (requestedAt: number): void => {
    while (waiters[0]) {
      const { count, after, since, resolve, reject } = waiters[0];
      const taken = tryTake(count, after);
      if (taken) {
        waiters.shift();
        resolve(taken);
      } else if (since <= requestedAt && spare === undefined && isAhead(after)) {
        // The block was made after the call: whatever was handed out before lies below it.
        waiters.shift();
        reject(ahead(after));
      } else {
        return;
      }
    }
  };

  const isAhead = (after: Tick): boolean => current !== undefined && after >= current.end;

  const fetchBlock = async (): Promise<number> => {
    const requestedAt = clock.monotonic();
    const count = Math.max(blockTicks, waiters[0]?.count ?? 0);
    const answer = await withTimeLimit(clock, fetchMs, signal, (limit) =>
      allocator.allocateTimestamps({ count }, { signal: limit }),
    );
    const leaseMs = Math.min(answer.leaseMs, maxLeaseMs);
    spare = {
      next: answer.first,
      end: answer.first + BigInt(answer.count),
      expires: requestedAt + leaseMs,
      stale: requestedAt + leaseMs / 2,
    };
    return requestedAt;
  };

  const fetchAll = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted; ) {
      try {
        const requestedAt = await fetchBlock();
        failures = 0;
        settle(requestedAt);
        if (waiters.length === 0) return;
      } catch (error) {
        if (signal.aborted) return;
        logger.warn("no time ticks from the coordinator", { reason: messageOf(error) });
        rejectOld(error);
        if (waiters.length === 0) return;
        await delay(clock, backoffDelay(failures++, random, { maxMs: 500 }), signal);
      }
    }
  };

  const rejectOld = (cause: unknown): void => {
    const now = clock.monotonic();
    while (waiters[0] && now - waiters[0].since >= waitMs) waiters.shift()?.reject(away(cause));
  };

  const ensureFetching = (): void => {
    if (fetching || signal.aborted) return;
    fetching = true;
    fetchAll()
      .catch((error: unknown) => {
        if (!signal.aborted) logger.error("fetching ticks failed", { reason: messageOf(error) });
      })
      .finally(() => {
        fetching = false;
        if (waiters.length > 0) ensureFetching();
      });
  };

  return {
    take(count, after = 0n) {
      if (signal.aborted) throw signal.reason;
      if (waiters.length === 0) {
        const taken = tryTake(count, after);
        if (taken) return taken;
      }
      return new Promise((resolve, reject) => {
        waiters.push({ count, after, since: clock.monotonic(), resolve, reject });
        ensureFetching();
      });
    },
    close() {
      const reason = new MillraceError("ON_SHUTDOWN", "the node is shutting down");
      ending.abort(reason);
      for (const waiter of waiters.splice(0)) waiter.reject(reason);
    },
  };
}

function away(cause: unknown): MillraceError {
  return new MillraceError(
    "UNAVAILABLE",
    `no time ticks: the coordinator does not answer (${messageOf(cause)}); try again`,
    { cause },
  );
}

function ahead(after: Tick): MillraceError {
  return new MillraceError(
    "INVALID_ARGUMENT",
    `tick ${after} lies ahead of the cluster's time; use one that the coordinator has given`,
    { field: "barrier_tick" },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
