/**
 * What an append must look like, whatever the state of the log.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { maxBatchMessages, maxKeyBytes } from "../format.ts";
import type { WalMessage } from "../record-batch.ts";
import { utf8Length } from "../utf8.ts";
import { isSelfControlled, standsAlone } from "./message-types.ts";

/** The longest header of a message, in bytes. */
const maxHeaderBytes = 1024 * 1024;

/** The first message of an append. Throws `INVALID_ARGUMENT` with the path of the field. */
export function checkMessages(messages: readonly WalMessage[], key: string): WalMessage {
  const first = messages[0];
  if (!first) throw invalid("messages", "an append needs at least one message");
  if (messages.length > maxBatchMessages) {
    const count = messages.length;
    throw invalid("messages", `${count} messages are too many; ${maxBatchMessages} are allowed`);
  }
  checkKey(key);
  for (let i = 0; i < messages.length; i++) checkMessage(messages[i] as WalMessage, i, messages);
  return first;
}

/** Throws `INVALID_ARGUMENT` unless the text may be an idempotency key. */
export function checkKey(key: string): void {
  if (key === "") return;
  if (utf8Length(key) > maxKeyBytes) {
    throw invalid("idempotency_key", `the idempotency key has more than ${maxKeyBytes} bytes`);
  }
  if (key.includes("\0")) throw invalid("idempotency_key", "the idempotency key has a NUL");
}

/** Throws `INVALID_ARGUMENT` if an append is larger than is allowed. */
export function checkSize(bytes: number, maxAppendBytes: number): void {
  if (bytes <= maxAppendBytes) return;
  throw invalid(
    "messages",
    `the append has ${bytes} bytes; at most ${maxAppendBytes} are allowed, so split it`,
  );
}

function checkMessage(
  { type, vchannel, header }: WalMessage,
  i: number,
  messages: readonly WalMessage[],
): void {
  if (!Number.isInteger(type) || type < 0 || type > 0xffff_ffff) {
    throw invalid(`messages[${i}].type`, `${type} is not a message type`);
  }
  if (isSelfControlled(type)) {
    throw invalid(`messages[${i}].type`, `messages of type ${type} are written by the log alone`);
  }
  if (vchannel !== messages[0]?.vchannel) {
    throw invalid(
      `messages[${i}].vchannel`,
      `all messages of an append have one vchannel: ${messages[0]?.vchannel}, not ${vchannel}`,
    );
  }
  if (header.length > maxHeaderBytes) {
    throw invalid(`messages[${i}].header`, `a header has at most ${maxHeaderBytes} bytes`);
  }
  if (standsAlone(type)) {
    if (messages.length > 1) {
      throw invalid(`messages[${i}].type`, "what changes a vchannel is an append of its own");
    }
  }
}

/** The error for a field that is wrong. */
export function invalid(field: string, message: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", message, { field });
}
