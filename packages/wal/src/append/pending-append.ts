/**
 * An append on its way: what happens to the state of the log, and to its caller, when it is settled.
 *
 * @module
 */

import type { MillraceError, Tick } from "@millrace/types";
import type { BatchAppend } from "../encode.ts";
import type { RecordBatch, WalMessage } from "../record-batch.ts";
import type { SequencedAppend } from "../sequencer.ts";
import type { AppendResult } from "../wal.ts";
import type { WalState } from "../wal-state.ts";
import type { Companions } from "./companions.ts";
import type { AppendPlace } from "./key-window.ts";
import { insert, remove } from "./message-types.ts";
import type { Txn } from "./transactions.ts";

/** What a {@linkcode PendingAppend} is made of. */
export interface PendingAppendInput {
  state: WalState;
  /** At least one. */
  messages: readonly WalMessage[];
  idempotencyKey: string;
  txn: Tick;
  barrier: Tick;
  bytes: number;
  /** The open transaction that it is appended to, whose bytes include it already. */
  session?: Txn | undefined;
  /** Bytes of its messages that count for `session`. */
  sessionBytes?: number | undefined;
  /** Called when its batch is formed; what goes with it. */
  companions?: (() => Companions | undefined) | undefined;
  /** How many companions it has at most. Default 0. */
  mostCompanions?: number | undefined;
  /** Called when it is settled, before its caller is told. */
  settled(): void;
}

const none: readonly BatchAppend[] = [];

/** An append on its way. A class, not closures: one is made for each append. */
export class PendingAppend implements SequencedAppend {
  readonly messages: readonly WalMessage[];
  readonly mostMessages: number;
  readonly idempotencyKey: string;
  readonly txn: Tick;
  readonly barrier: Tick;
  readonly bytes: number;
  /** Resolves when it is durable. */
  readonly result: Promise<AppendResult>;
  readonly #input: PendingAppendInput;
  #companions: Companions | undefined;
  #resolve: (result: AppendResult) => void = () => undefined;
  #reject: (error: MillraceError) => void = () => undefined;

  constructor(input: PendingAppendInput) {
    this.messages = input.messages;
    this.mostMessages = input.messages.length + (input.mostCompanions ?? 0);
    this.idempotencyKey = input.idempotencyKey;
    this.txn = input.txn;
    this.barrier = input.barrier;
    this.bytes = input.bytes;
    this.#input = input;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  before(): readonly BatchAppend[] {
    this.#companions ??= this.#input.companions?.();
    return this.#companions?.appends ?? none;
  }

  committed(batch: RecordBatch, index: number): void {
    const { state, session } = this.#input;
    const { messages, idempotencyKey, txn } = this;
    const id = { sequence: batch.sequence, index };
    const firstTick = index === 0 ? batch.firstTick : batch.firstTick + BigInt(index);
    const count = messages.length;
    this.#companions?.committed(batch, index - this.#companions.appends.length);
    const { type, vchannel, header } = messages[0] as WalMessage;
    if ((type !== insert && type !== remove) || idempotencyKey !== "" || txn !== 0n) {
      state.applyAppend({ type, vchannel, header, id, firstTick, count, idempotencyKey, txn });
    }
    if (session) leave(session);
    this.#input.settled();
    this.#resolve(resultOf({ id, firstTick, count }, false, state));
  }

  failed(error: MillraceError): void {
    const { state, session, sessionBytes = 0 } = this.#input;
    this.#companions?.failed();
    if (session) {
      state.txns.grow(session, -sessionBytes);
      leave(session);
    }
    this.#input.settled();
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
