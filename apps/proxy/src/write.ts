/**
 * Messages into the logs of a collection's vchannels.
 *
 * @module
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { MillraceError, pchannelOf } from "@millrace/types";
import type { AppendResponse, MessageSchema } from "@millrace/types/gen";
import type { ProxyContext } from "./context.ts";

/** What one vchannel gets: all of it or nothing. */
export interface VchannelWrite {
  vchannel: string;
  messages: MessageInitShape<typeof MessageSchema>[];
  /** Of the rows, for admission. */
  bytes: number;
}

/** Options of {@linkcode write}. */
export interface WriteOptions {
  /** Not empty: it makes retries safe. */
  key: string;
  /** The ticks given will exceed this. */
  barrier?: bigint;
  signal: AbortSignal;
}

/**
 * Appends to all the vchannels at once, each until it is durable, wherever its owner moves. If some
 * fail, throws the first failure when all have ended, with `maybeApplied` if others were written.
 */
export async function write(
  context: ProxyContext,
  writes: readonly VchannelWrite[],
  options: WriteOptions,
): Promise<AppendResponse[]> {
  const admitted = context.admit(writes.reduce((sum, { bytes }) => sum + bytes, 0));
  try {
    const results = await Promise.allSettled(writes.map((each) => append(context, each, options)));
    const written: AppendResponse[] = [];
    const failures: MillraceError[] = [];
    for (const result of results) {
      if (result.status === "fulfilled") written.push(result.value);
      else failures.push(MillraceError.from(result.reason));
    }
    const [failure] = failures;
    if (!failure) return written;
    throw written.length > 0 ? partly(failure) : failure;
  } finally {
    admitted.release();
  }
}

function append(
  context: ProxyContext,
  { vchannel, messages }: VchannelWrite,
  { key, barrier = 0n, signal }: WriteOptions,
): Promise<AppendResponse> {
  return context.owners.call(pchannelOf(vchannel), signal, (handler, pchannel, trySignal) =>
    handler.append(
      { pchannel, messages, idempotencyKey: key, barrierTick: barrier },
      { signal: trySignal },
    ),
  );
}

function partly(error: MillraceError): MillraceError {
  const { code, message, retryable, retryAfterMs } = error;
  return new MillraceError(
    code,
    `${message} (other shards were written; the same call with the same idempotency key writes the rest)`,
    { retryable, retryAfterMs, maybeApplied: true, cause: error },
  );
}

/** The largest tick of answers. */
export function largestTick(answers: readonly AppendResponse[]): bigint {
  let tick = 0n;
  for (const { lastTick } of answers) if (lastTick > tick) tick = lastTick;
  return tick;
}
