/**
 * Admission: which appends may enter the log, and which are there already.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { encodedAppendBytes } from "./encode.ts";
import { maxBatchMessages, maxKeyBytes } from "./format.ts";
import type { WalMessage } from "./record-batch.ts";
import type { Sequencer } from "./sequencer.ts";
import { utf8Length } from "./utf8.ts";
import type { AppendOptions, AppendResult } from "./wal.ts";
import { createCollection, dropCollection, keyName, resultOf, type WalState } from "./wal-state.ts";

/** Options of {@linkcode admitAppends}. */
export interface AdmissionOptions {
  /** Vchannels need not be created. */
  anyVchannel: boolean;
  /** The largest append, in bytes as encoded. */
  maxAppendBytes: number;
}

/** The longest header of a message. */
const maxHeaderBytes = 1024 * 1024;

/** Answers a Wal's `append`. */
export function admitAppends(
  sequencer: Sequencer,
  state: WalState,
  options: AdmissionOptions,
): (messages: readonly WalMessage[], options?: AppendOptions) => Promise<AppendResult> {
  /** Appends with a key, and creations, that are on their way. */
  const underWay = new Map<string, Promise<AppendResult>>();
  /** Vchannels whose end is on its way. */
  const ending = new Set<string>();

  function admit(
    messages: readonly WalMessage[],
    { idempotencyKey = "", barrier = 0n, signal }: AppendOptions,
  ): Promise<AppendResult> {
    sequencer.check();
    signal?.throwIfAborted();
    const { type, vchannel, header } = checkMessages(messages, idempotencyKey, options);

    const creates = type === createCollection;
    const name = creates ? keyName(vchannel, "\0created") : keyName(vchannel, idempotencyKey);
    const tracked = creates || idempotencyKey !== "";
    const earlier = tracked ? underWay.get(name) : undefined;
    if (earlier) return earlier.then((result) => ({ ...result, duplicate: true }));
    const found = idempotencyKey === "" ? undefined : state.findKey(vchannel, idempotencyKey);
    if (found) return Promise.resolve(found);

    const origin = state.vchannels.get(vchannel);
    if (creates && origin && !ending.has(vchannel)) {
      return Promise.resolve(resultOf(origin.id, origin.tick, 1, true));
    }
    const known = vchannel === "" || options.anyVchannel || origin !== undefined;
    if ((!known && !creates) || ending.has(vchannel)) {
      throw new MillraceError(
        "VCHANNEL_NOT_EXIST",
        `${vchannel} does not exist on this pchannel; refresh the catalog`,
      );
    }

    const drops = type === dropCollection;
    const { promise, resolve, reject } = createDeferred<AppendResult>();
    sequencer.add({
      messages,
      idempotencyKey,
      barrier,
      committed(batch, index) {
        const id = { sequence: batch.sequence, index };
        const firstTick = index === 0 ? batch.firstTick : batch.firstTick + BigInt(index);
        if (creates) state.createVchannel(vchannel, { header, id, tick: firstTick });
        if (drops) {
          state.dropVchannel(vchannel);
          ending.delete(vchannel);
        }
        if (tracked) underWay.delete(name);
        if (idempotencyKey !== "") {
          const count = messages.length;
          state.rememberKey(vchannel, idempotencyKey, { id, firstTick, count });
        }
        resolve(resultOf(id, firstTick, messages.length, false));
      },
      failed(error) {
        if (drops) ending.delete(vchannel);
        if (tracked) underWay.delete(name);
        reject(error);
      },
    });
    if (tracked) underWay.set(name, promise);
    if (drops) ending.add(vchannel);
    return promise;
  }

  return (messages, appendOptions = {}) => {
    try {
      return admit(messages, appendOptions);
    } catch (error) {
      return Promise.reject(error);
    }
  };
}

function createDeferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: MillraceError) => void;
} {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: MillraceError) => void = () => undefined;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

function checkMessages(
  messages: readonly WalMessage[],
  key: string,
  options: AdmissionOptions,
): WalMessage {
  const first = messages[0];
  if (!first) throw invalid("messages", "an append needs at least one message");
  if (messages.length > maxBatchMessages) {
    const count = messages.length;
    throw invalid("messages", `${count} messages are too many; ${maxBatchMessages} are allowed`);
  }
  if (key !== "" && utf8Length(key) > maxKeyBytes) {
    throw invalid("idempotency_key", `the idempotency key has more than ${maxKeyBytes} bytes`);
  }
  for (let i = 0; i < messages.length; i++) {
    const { type, vchannel, header } = messages[i] as WalMessage;
    if (!Number.isInteger(type) || type < 0 || type > 0xffff_ffff) {
      throw invalid(`messages[${i}].type`, `${type} is not a message type`);
    }
    if (vchannel !== first.vchannel) {
      throw invalid(
        `messages[${i}].vchannel`,
        `all messages of an append have one vchannel: ${first.vchannel}, not ${vchannel}`,
      );
    }
    if (header.length > maxHeaderBytes) {
      throw invalid(`messages[${i}].header`, `a header has at most ${maxHeaderBytes} bytes`);
    }
    if (messages.length > 1 && (type === createCollection || type === dropCollection)) {
      throw invalid(
        `messages[${i}].type`,
        "the creation or end of a vchannel is an append of its own",
      );
    }
    if (type === createCollection || type === dropCollection) {
      if (vchannel === "") throw invalid(`messages[${i}].vchannel`, "name the vchannel");
    }
  }
  const bytes = encodedAppendBytes({ messages, idempotencyKey: key });
  if (bytes > options.maxAppendBytes) {
    throw invalid(
      "messages",
      `the append has ${bytes} bytes; at most ${options.maxAppendBytes} are allowed, so split it`,
    );
  }
  return first;
}

function invalid(field: string, message: string): MillraceError {
  return new MillraceError("INVALID_ARGUMENT", message, { field });
}
