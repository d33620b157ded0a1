/**
 * Messages of the coordinator into vchannels, over moved owners, until they stand there.
 *
 * @module
 */

import { create } from "@bufbuild/protobuf";
import {
  backoffDelay,
  type Clock,
  delay,
  type Logger,
  MillraceError,
  pchannelOf,
  type Random,
  withTimeLimit,
} from "@millrace/types";
import { AppendRequestSchema, type Message, MessageType } from "@millrace/types/gen";
import type { Nodes } from "./nodes.ts";

/** The node that serves a pchannel now. */
export interface ServingOwner {
  address: string;
  term: number;
}

/** Options of {@linkcode createVchannelAppend}. */
export interface VchannelAppendOptions {
  nodes: Nodes;
  /** `undefined`: nobody at this moment. */
  ownerOf: (pchannel: string) => ServingOwner | undefined;
  /** An owner did not serve its pchannel. Must not throw. */
  onFailure: (pchannel: string, term: number) => void;
  clock: Clock;
  random: Random;
  logger: Logger;
}

/**
 * Appends a message to a vchannel, once for each idempotency key. Resolves when it is durable;
 * rejects only when the signal is aborted.
 */
export type VchannelAppend = (
  vchannel: string,
  message: Message,
  idempotencyKey: string,
  signal: AbortSignal,
) => Promise<void>;

/** How long one attempt may take, in milliseconds. */
const attemptMs = 10_000;

/** Creates a {@linkcode VchannelAppend}. */
export function createVchannelAppend(options: VchannelAppendOptions): VchannelAppend {
  const { nodes, ownerOf, onFailure, clock, random, logger } = options;
  return async (vchannel, message, idempotencyKey, signal) => {
    const pchannel = pchannelOf(vchannel);
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted();
      const owner = ownerOf(pchannel);
      if (owner) {
        const request = create(AppendRequestSchema, {
          pchannel: { name: pchannel, term: BigInt(owner.term) },
          messages: [{ ...message, vchannel }],
          idempotencyKey,
        });
        try {
          await withTimeLimit(clock, attemptMs, signal, (limit) =>
            nodes.append(owner.address, request, limit),
          );
          return;
        } catch (error) {
          if (signal.aborted) throw signal.reason;
          // The last message of a vchannel stands there already: nothing can follow it.
          if (
            message.type === MessageType.DROP_COLLECTION &&
            MillraceError.is(error, "VCHANNEL_NOT_EXIST")
          )
            return;
          logger.warn("a change of the catalog could not be appended, it will be tried again", {
            vchannel,
            term: owner.term,
            error,
          });
          onFailure(pchannel, owner.term);
        }
      }
      await delay(clock, backoffDelay(attempt, random, { maxMs: 500 }), signal);
    }
  };
}
