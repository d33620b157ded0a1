/**
 * The users of a Wal in a random history: what they ask for, and what they are told.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { MillraceError, type Tick } from "@millrace/types";
import { InsertHeaderSchema } from "@millrace/types/gen";
import { createCollection, insert, manualFlush } from "../append/message-types.ts";
import type { WalMessage } from "../record-batch.ts";
import type { AppendOptions, AppendResult, Wal } from "../wal.ts";
import { below, chance, pick } from "./chance.ts";
import { nextTurns } from "./turns.ts";
import { type Retry, vchannels, type World } from "./wal-world.ts";

/** Users of the log at one owner. */
export interface WalUser {
  /** Creates the vchannels, unless they are there. */
  createVchannels(): void;
  /** Asks for something, and waits if much is under way. */
  step(): Promise<void>;
  /** Resolves when all that was asked for has an outcome. */
  settled(): Promise<void>;
}

const encoder = new TextEncoder();
const noBytes: Uint8Array = new Uint8Array(0);
const oneRow: Uint8Array = toBinary(InsertHeaderSchema, create(InsertHeaderSchema, { rows: 1 }));

/** Errors by which an owner says that it is none any more. */
const goneCodes = ["CHANNEL_FENCED", "ON_SHUTDOWN"] as const;

/** Creates the users of a log. */
export function createWalUser(world: World, wal: Wal): WalUser {
  const { tell, random } = world;
  const { term } = wal;
  const maxUnderWay = 1 + below(random, 12);
  const underWay = new Set<Promise<void>>();

  /** Writes down what becomes of an operation. */
  function watch(op: number, result: Promise<AppendResult>, expected: string[]): Promise<void> {
    const settling = result
      .then(
        ({ id, firstTick, lastTick, duplicate }) => {
          tell({ kind: "acknowledged", op, id, firstTick, lastTick, duplicate });
        },
        (error) => failed(op, error, expected),
      )
      .finally(() => underWay.delete(settling));
    underWay.add(settling);
    return settling;
  }

  function failed(op: number, error: unknown, expected: string[]): void {
    const code = MillraceError.is(error) ? error.code : undefined;
    if (code === undefined ? error !== aborted : ![...goneCodes, ...expected].includes(code)) {
      world.fail(error);
    }
    if (MillraceError.is(error) && error.maybeApplied) return;
    tell({ kind: "failed", op, code });
  }

  function createVchannels(): void {
    for (const vchannel of vchannels) {
      const op = world.ops++;
      const name = `creation of ${vchannel}`;
      tell({ kind: "append", op, term, names: [name], key: name });
      const creation = messageOf(name, vchannel, createCollection);
      void watch(op, wal.append([creation], { idempotencyKey: name, whenFull: "wait" }), [
        "RESOURCE_EXHAUSTED",
      ]);
    }
  }

  function append(): void {
    const retry = chance(random, 0.4) ? takeRetry() : undefined;
    const { names, key, vchannel, txn } = retry ?? newAppend();
    if (key !== "" && chance(random, 0.6)) world.retries.push({ names, key, vchannel, txn });
    const barrier = chance(random, 0.1)
      ? world.lastTick() + BigInt(below(random, 1000))
      : undefined;
    const op = world.ops++;
    tell({ kind: "append", op, term, names, key, txn, barrier });
    const options: AppendOptions = {
      idempotencyKey: key,
      txn,
      barrier,
      whenFull: chance(random, 0.5) ? "wait" : "refuse",
      signal: chance(random, 0.05) ? soonAborted() : undefined,
    };
    // What is exclusive ends the transactions of its vchannel. It stands alone.
    const isAlone = names.length === 1 && txn === 0n && retry === undefined && chance(random, 0.1);
    const type = isAlone ? manualFlush : insert;
    const messages = names.map((name) => messageOf(name, vchannel, type));
    const expected = ["RESOURCE_EXHAUSTED", "VCHANNEL_NOT_EXIST"];
    if (txn !== 0n) expected.push("TRANSACTION_EXPIRED", "INVALID_TRANSACTION_STATE");
    void watch(op, wal.append(messages, options), expected);
  }

  function newAppend(): Retry {
    const known = chance(random, 0.4) ? pick(random, world.txns) : undefined;
    const vchannel = known?.vchannel ?? (pick(random, vchannels) as string);
    const count = 1 + below(random, 4);
    const names = Array.from({ length: count }, () => `m${world.messages++}`);
    const key = chance(random, 0.4) ? `key of ${names[0]}` : "";
    return { names, key, vchannel, txn: known?.txn ?? 0n };
  }

  function takeRetry(): Retry | undefined {
    const [retry] = world.retries.splice(below(random, world.retries.length), 1);
    return retry;
  }

  function begin(): void {
    const vchannel = pick(random, vchannels) as string;
    const leaseMs = chance(random, 0.5) ? 1 + below(random, 200) : 600_000;
    const op = world.ops++;
    tell({ kind: "begin", op, term });
    const begun = wal.begin({ vchannel, leaseMs }).then((result) => {
      if (result.txn !== result.firstTick) throw new Error(`${result.txn} is not its own tick`);
      world.txns.push({ txn: result.txn, vchannel });
      return result;
    });
    void watch(op, begun, ["RESOURCE_EXHAUSTED", "VCHANNEL_NOT_EXIST"]);
  }

  async function end(): Promise<void> {
    const known = pick(random, world.txns);
    if (!known) return;
    const { txn } = known;
    if (chance(random, 0.7)) forget(txn);
    const op = world.ops++;
    if (chance(random, 0.7)) {
      tell({ kind: "commit", op, term, txn });
      const expected = ["TRANSACTION_EXPIRED", "INVALID_TRANSACTION_STATE", "RESOURCE_EXHAUSTED"];
      void watch(op, wal.commit(txn), expected);
      return;
    }
    tell({ kind: "rollback", op, term, txn });
    try {
      await wal.rollback(txn);
      tell({ kind: "settled", op });
    } catch (error) {
      failed(op, error, ["INVALID_TRANSACTION_STATE", "RESOURCE_EXHAUSTED"]);
    }
  }

  function forget(txn: Tick): void {
    const at = world.txns.findIndex((known) => known.txn === txn);
    if (at >= 0) world.txns.splice(at, 1);
  }

  /** What is appended after a tick was confirmed, has a later one. */
  async function sync(): Promise<void> {
    try {
      const tick = await wal.sync();
      if (wal.confirmedTick() < tick) throw new Error(`${tick} was not confirmed`);
    } catch (error) {
      if (!MillraceError.is(error, ...goneCodes)) throw error;
    }
  }

  async function runOutOfRoom(): Promise<void> {
    const free = await world.fill?.();
    if (!free) return;
    for (let i = below(random, 4); i >= 0; i--) append();
    await settled();
    free();
  }

  async function settled(): Promise<void> {
    await Promise.all(underWay);
  }

  function soonAborted(): AbortSignal {
    const controller = new AbortController();
    nextTurns(1).then(() => controller.abort(aborted));
    if (chance(random, 0.3)) controller.abort(aborted);
    return controller.signal;
  }

  return {
    createVchannels,
    async step() {
      const dice = below(random, 100);
      if (dice < 70) append();
      else if (dice < 78) begin();
      else if (dice < 90) await end();
      else if (dice < 94) await sync();
      else if (dice < 95) await runOutOfRoom();
      else world.passTime(below(random, 30));
      if (underWay.size >= maxUnderWay) await [...underWay][0];
    },
    settled,
  };
}

/** The reason for which users give up. */
const aborted = new Error("a user has given up");

function messageOf(name: string, vchannel: string, type: number): WalMessage {
  const header = type === insert ? oneRow : noBytes;
  return { type, vchannel, header, payload: encoder.encode(name) };
}
