/**
 * Clients that insert into one shard each without a pause, and how long each had to wait when.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import { MillraceError } from "@millrace/types";
import type { Target } from "./record.ts";
import { idOfShard, type Session } from "./session.ts";

/** A shard, and when inserts into it were acknowledged. */
export interface ShardLoad {
  vchannel: string;
  /** In order, on the monotonic clock. */
  acknowledged: number[];
}

/** Inserts that are under way. */
export interface Load {
  shards: ShardLoad[];
  /** Inserts that failed, and why. */
  failures: string[];
  /** Ends when all that was asked for is answered. */
  stop(): Promise<void>;
}

/** Of each client after each insert, so that a small machine is not full. */
const pauseMs = 30;

/** Inserts into every shard of a collection, one after the other, through both proxies. */
export function startLoad({ proxies, record }: Session, target: Target): Load {
  const { collection, vchannels } = target;
  const failures: string[] = [];
  let stopping = false;
  const shards = vchannels.map((vchannel) => ({ vchannel, acknowledged: [] as number[] }));
  const insert = async ({ vchannel, acknowledged }: ShardLoad, shard: number): Promise<void> => {
    const proxy = proxies[shard % proxies.length];
    for (let i = 0; !stopping; i++) {
      const id = idOfShard(`load.${shard}.${i}`, shard, vchannels.length);
      const key = `load/${shard}/${i}`;
      const rows = [{ id, writer: "load", text: "" }];
      for (;;) {
        const op = record.nextOp();
        record.events.push({ kind: "insert", op, key, parts: [{ vchannel, name: id }] });
        try {
          const signal = AbortSignal.timeout(20_000);
          const request = { collection, rows, idempotencyKey: key };
          const { tick, duplicate } = (await proxy?.insert(request, { signal })) ?? {};
          record.events.push({ kind: "inserted", op, tick: tick ?? 0n, duplicate: !!duplicate });
          break;
        } catch (reason) {
          const { code, message } = MillraceError.from(reason);
          failures.push(`${key}: ${code}: ${message}`);
          await sleep(10);
        }
      }
      acknowledged.push(performance.now());
      await sleep(pauseMs);
    }
  };
  const running = Promise.all(shards.map(insert));
  return {
    shards,
    failures,
    async stop() {
      stopping = true;
      await running;
    },
  };
}

/** When an insert was acknowledged first after a time, in milliseconds from then. */
export function firstAfter({ acknowledged }: ShardLoad, since: number): number {
  // What had been done already may be answered a moment later.
  const first = acknowledged.find((time) => time > since + 100);
  return first === undefined ? Number.POSITIVE_INFINITY : first - since;
}

/** The longest time without an acknowledgement that touches an interval, in milliseconds. */
export function longestPause({ acknowledged }: ShardLoad, from: number, to: number): number {
  let longest = 0;
  for (const [index, time] of acknowledged.entries()) {
    const before = acknowledged[index - 1];
    if (before !== undefined && time > from && before < to) {
      longest = Math.max(longest, time - before);
    }
  }
  return longest;
}

/** A value below or at which this part of the values is; 0.5 is the median. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
