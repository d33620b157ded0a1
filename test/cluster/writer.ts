/**
 * A client that inserts, one call after the other, each with an idempotency key and until it is
 * acknowledged, through any proxy.
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { MillraceError, type Random } from "@millrace/types";
import type { ProxyService } from "@millrace/types/gen";
import { isExpected, type Part, partsOf, type Record, type Target } from "./record.ts";

/** Options of {@linkcode createWriter}. */
export interface WriterOptions {
  name: string;
  proxies: readonly Client<typeof ProxyService>[];
  targets: readonly Target[];
  record: Record;
  random: Random;
  /** Of the pause after each insert, in milliseconds. */
  pauseMs: number;
}

/** What a writer did. */
export interface WriterTotals {
  inserts: number;
  rows: number;
  acknowledged: number;
  duplicates: number;
  failedAttempts: number;
  unknownAttempts: number;
  /** Inserts of which the outcome is not known, since it gave up. */
  givenUp: number;
  /** The longest time from one acknowledgement to the next, in milliseconds. */
  longestGapMs: number;
}

/** A client that inserts. */
export interface Writer {
  totals: WriterTotals;
  /** Inserts rows of the writer's choice, until they are acknowledged. */
  insert(target: Target, ids: readonly string[]): Promise<void>;
  /** Lets it insert until it is stopped. */
  run(): Promise<void>;
  /** It ends when its present insert has been acknowledged. */
  stop(): void;
}

/** An attempt that takes longer has an unknown outcome. */
const attemptMs = 8000;

/** Creates a client. */
export function createWriter(options: WriterOptions): Writer {
  const { name, proxies, targets, record, random, pauseMs } = options;
  const totals: WriterTotals = {
    ...{ inserts: 0, rows: 0, acknowledged: 0, duplicates: 0 },
    ...{ failedAttempts: 0, unknownAttempts: 0, givenUp: 0, longestGapMs: 0 },
  };
  let stopping = false;
  let lastAck = performance.now();
  const below = (n: number): number => Math.floor(random.next() * n);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

  /** Answers whether the attempt was acknowledged, failed without effect, or neither is known. */
  async function attempt(
    request: { collection: string; ids: readonly string[]; key: string },
    parts: readonly Part[],
  ): Promise<"acknowledged" | "failed" | "unknown"> {
    const { collection, ids, key } = request;
    const op = record.nextOp();
    record.events.push({ kind: "insert", op, key, parts });
    try {
      const rows = ids.map((id) => ({ id, writer: name, text: "x".repeat(below(100)) }));
      const signal = AbortSignal.timeout(attemptMs);
      const answer = await pick(proxies).insert(
        { collection, rows, idempotencyKey: key },
        { signal },
      );
      const { tick, duplicate } = answer;
      if (answer.rows !== ids.length) {
        record.surprise(`insert ${key} has ${ids.length} rows, but ${answer.rows} were taken`);
      }
      record.events.push({ kind: "inserted", op, tick, duplicate });
      if (duplicate) totals.duplicates++;
      return "acknowledged";
    } catch (reason) {
      const error = MillraceError.from(reason);
      if (!isExpected(error)) {
        record.surprise(`insert ${key} failed with ${error.code}: ${error.message}`);
      }
      if (error.maybeApplied || error.code === "CANCELLED" || error.code === "DEADLINE_EXCEEDED") {
        totals.unknownAttempts++;
        return "unknown";
      }
      totals.failedAttempts++;
      record.events.push({ kind: "failed", op });
      return "failed";
    }
  }

  async function insert(target: Target, ids: readonly string[], mayGiveUp = false): Promise<void> {
    const key = `${name}/${totals.inserts++}`;
    const request = { collection: target.collection, ids, key };
    const parts = partsOf(ids, target);
    totals.rows += ids.length;
    for (;;) {
      const outcome = await attempt(request, parts);
      if (outcome === "acknowledged") break;
      if (mayGiveUp && outcome === "unknown" && random.next() < 0.1) {
        totals.givenUp++;
        return;
      }
      await sleep(20 + below(180));
    }
    totals.acknowledged++;
    const now = performance.now();
    totals.longestGapMs = Math.max(totals.longestGapMs, now - lastAck);
    lastAck = now;
  }

  return {
    totals,
    insert: (target, ids) => insert(target, ids),
    async run() {
      lastAck = performance.now();
      while (!stopping) {
        const count = 1 + below(6);
        const ids = Array.from({ length: count }, (_, i) => `${name}.${totals.inserts}.${i}`);
        await insert(pick(targets), ids, true);
        await sleep(below(2 * pauseMs));
      }
    },
    stop() {
      stopping = true;
    },
  };
}
