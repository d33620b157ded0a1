/**
 * An append as it comes over the wire: messages, or the beginning or end of a transaction.
 *
 * @module
 */

import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/types";
import {
  type AppendRequest,
  type AppendResponseSchema,
  BeginTxnHeaderSchema,
  type Message,
  MessageType,
} from "@millrace/types/gen";
import type { AppendOptions, AppendResult, Wal } from "@millrace/wal";
import { checkMessages } from "./check-messages.ts";
import { invalid } from "./request.ts";

type Response = MessageInitShape<typeof AppendResponseSchema>;

/** Appends what a request asks for and answers where it stands. Errors: those of the log. */
export async function appendTo(
  wal: Wal,
  request: AppendRequest,
  signal: AbortSignal,
): Promise<Response> {
  const { messages, idempotencyKey, barrierTick, txn } = request;
  const control = messages.find(({ type }) => isTxnControl(type));
  if (control) return controlTxn(wal, request, control, signal);
  checkMessages(messages);
  const options: AppendOptions = { signal };
  if (idempotencyKey !== "") options.idempotencyKey = idempotencyKey;
  if (barrierTick !== 0n) options.barrier = barrierTick;
  if (txn !== 0n) options.txn = txn;
  return toResponse(await wal.append(messages, options));
}

async function controlTxn(
  wal: Wal,
  request: AppendRequest,
  { type, vchannel, header, payload }: Message,
  signal: AbortSignal,
): Promise<Response> {
  const { messages, idempotencyKey, txn } = request;
  if (messages.length > 1) {
    throw invalid(
      "messages",
      "the beginning and the end of a transaction are requests of their own",
    );
  }
  if (payload.byteLength > 0) throw invalid("messages[0].payload", "must be empty");
  if (type === MessageType.BEGIN_TXN) {
    const leaseMs = leaseOf(header);
    const begun = await wal.begin({ vchannel, leaseMs, idempotencyKey, signal });
    return { ...toResponse(begun), txn: begun.txn };
  }
  if (txn === 0n) throw invalid("txn", "names no transaction");
  if (type === MessageType.COMMIT_TXN) return toResponse(await wal.commit(txn));
  await wal.rollback(txn);
  const tick = wal.lastTick();
  return { firstTick: tick, lastTick: tick };
}

function leaseOf(header: Uint8Array): number {
  try {
    return fromBinary(BeginTxnHeaderSchema, header).leaseMs;
  } catch (cause) {
    const message = "messages[0].header is not a BeginTxnHeader";
    throw new MillraceError("INVALID_ARGUMENT", message, { field: "messages[0].header", cause });
  }
}

function isTxnControl(type: MessageType): boolean {
  return (
    type === MessageType.BEGIN_TXN ||
    type === MessageType.COMMIT_TXN ||
    type === MessageType.ROLLBACK_TXN
  );
}

function toResponse(result: AppendResult): Response {
  const { id, firstTick, lastTick, duplicate, lastConfirmed } = result;
  return {
    id: { sequence: BigInt(id.sequence), index: id.index },
    firstTick,
    lastTick,
    duplicate,
    lastConfirmed: BigInt(lastConfirmed),
  };
}
