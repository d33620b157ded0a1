/**
 * Copies of broadcasts into the logs of their vchannels, at whoever owns those.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import type { AppendResult, BroadcastMessage, VchannelAppend } from "@millrace/broadcaster";
import {
  type Clock,
  isControlChannel,
  MillraceError,
  pchannelOf,
  withTimeLimit,
} from "@millrace/types";
import {
  AppendRequestSchema,
  type AppendResponse,
  BroadcastHeaderSchema,
  type Message,
  MessageSchema,
  MessageType,
} from "@millrace/types/gen";
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
}

/** How long one attempt may take, in milliseconds. */
const attemptMs = 10_000;

/** Creates what appends a copy: one attempt, which fails with `CHANNEL_NOT_EXIST` without an owner. */
export function createVchannelAppend(options: VchannelAppendOptions): VchannelAppend {
  const { nodes, ownerOf, onFailure, clock } = options;
  return async (vchannel, message, { id, idempotencyKey, signal }) => {
    const pchannel = pchannelOf(vchannel);
    const owner = ownerOf(pchannel);
    if (!owner) {
      throw new MillraceError("CHANNEL_NOT_EXIST", `nobody serves ${pchannel} at this moment`);
    }
    const request = create(AppendRequestSchema, {
      pchannel: { name: pchannel, term: BigInt(owner.term) },
      messages: [copyFor(vchannel, id, message)],
      idempotencyKey,
    });
    try {
      const response = await withTimeLimit(clock, attemptMs, signal, (limit) =>
        nodes.append(owner.address, request, limit),
      );
      return resultOf(response);
    } catch (error) {
      const isGone = MillraceError.is(error, "VCHANNEL_NOT_EXIST");
      // The last message of a vchannel stands there already: nothing can follow it.
      if (isGone && message.type === MessageType.DROP_COLLECTION) return nowhere;
      if (!signal.aborted) onFailure(pchannel, owner.term);
      throw error;
    }
  };
}

const nowhere: AppendResult = { id: { sequence: 0, index: 0 }, tick: 0n, resume: 0 };

/** The copy of a vchannel. That of the control channel says what was broadcast, and is not it. */
function copyFor(vchannel: string, id: bigint, message: BroadcastMessage): Message {
  const { header, payload } = message;
  const type = message.type as MessageType;
  if (!isControlChannel(vchannel)) {
    return create(MessageSchema, { type, vchannel, header, payload });
  }
  const shown = create(BroadcastHeaderSchema, { broadcastId: id, type, header });
  return create(MessageSchema, {
    type: MessageType.BROADCAST,
    vchannel,
    header: toBinary(BroadcastHeaderSchema, shown),
  });
}

function resultOf({ id, firstTick, lastConfirmed }: AppendResponse): AppendResult {
  return {
    id: { sequence: Number(id?.sequence ?? 0n), index: id?.index ?? 0 },
    tick: firstTick,
    resume: Number(lastConfirmed),
  };
}
