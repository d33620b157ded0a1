/**
 * An append on its way: what happens to the state of the log, and to its caller, when it is settled.
 *
 * @module
 */

import type { MillraceError, Tick } from "@millrace/types";
import type { BatchAppend } from "../encode.ts";
import type { RecordBatch, WalMessage } from "../record-batch.ts";
import type { SequencedAppend } from "../sequencer.ts";
import type { AppendOptions, AppendResult } from "../wal.ts";
import type { WalState } from "../wal-state.ts";
import type { Companions } from "./companions.ts";
import type { AppendPlace } from "./key-window.ts";
import { changesState } from "./message-types.ts";
import type { Txn } from "./transactions.ts";

const none: readonly BatchAppend[] = [];
const ignore = (): void => undefined;

/** An append on its way. A class, without closures of its own: one is made for each append. */
export class PendingAppend implements SequencedAppend {
  readonly messages: readonly WalMessage[];
  readonly idempotencyKey: string;
  readonly txn: Tick;
  readonly barrier: Tick;
  /** As encoded. */
  readonly bytes: number;
  /** Resolves when it is durable. */
  readonly result: Promise<AppendResult>;
  /** The most messages it has, with its companions. */
  mostMessages: number;
  /** The open transaction that it is appended to, whose bytes include it already. */
  session: Txn | undefined;
  /** Bytes of its messages that count for `session`. */
  sessionBytes: number;
  /** Called when its batch is formed; what goes with it. */
  companions: (() => Companions | undefined) | undefined;
  /** Called when it is settled, before its caller is told. */
  settled: (append: PendingAppend) => void;
  readonly #state: WalState;
  #claimed: Companions | undefined;
  #resolve: (result: AppendResult) => void;
  #reject: (error: MillraceError) => void;

  constructor(
    state: WalState,
    messages: readonly WalMessage[],
    bytes: number,
    { idempotencyKey = "", txn = 0n, barrier = 0n }: AppendOptions,
  ) {
    this.messages = messages;
    this.idempotencyKey = idempotencyKey;
    this.txn = txn;
    this.barrier = barrier;
    this.bytes = bytes;
    this.mostMessages = messages.length;
    this.session = undefined;
    this.sessionBytes = 0;
    this.companions = undefined;
    this.settled = ignore;
    this.#state = state;
    this.#claimed = undefined;
    this.#resolve = ignore;
    this.#reject = ignore;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  before(): readonly BatchAppend[] {
    if (!this.companions) return none;
    this.#claimed ??= this.companions();
    return this.#claimed?.appends ?? none;
  }

  committed(batch: RecordBatch, index: number): void {
    const { messages, session, idempotencyKey, txn } = this;
    const id = { sequence: batch.sequence, index };
    const firstTick = index === 0 ? batch.firstTick : batch.firstTick + BigInt(index);
    const count = messages.length;
    this.#claimed?.committed(batch, index - this.#claimed.appends.length);
    const { type, vchannel, header } = messages[0] as WalMessage;
    if (changesState(type) || idempotencyKey !== "" || txn !== 0n) {
      const place = { id, firstTick, count };
      this.#state.applyAppend({ type, vchannel, header, ...place, idempotencyKey, txn });
    }
    if (session) leave(session);
    this.settled(this);
    this.#resolve(resultOf({ id, firstTick, count }, false, this.#state));
  }

  failed(error: MillraceError): void {
    const { session, sessionBytes } = this;
    this.#claimed?.failed();
    if (session) {
      this.#state.txns.grow(session, -sessionBytes);
      leave(session);
    }
    this.settled(this);
    this.#reject(error);
  }
}

/** Where an append stands, as its caller is told. */
export function resultOf(
  { id, firstTick, count }: AppendPlace,
  duplicate: boolean,
  state: WalState,
): AppendResult {
  return {
    id,
    firstTick,
    lastTick: count === 1 ? firstTick : firstTick + BigInt(count - 1),
    duplicate,
    lastConfirmed: Math.min(id.sequence, state.txns.oldest(id.sequence)),
  };
}

function leave(session: Txn): void {
  session.onTheirWay--;
  if (session.onTheirWay > 0) return;
  for (const settled of session.whenSettled.splice(0)) settled();
}
