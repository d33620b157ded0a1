/**
 * Flush, and how far it is.
 *
 * @module
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { MillraceError, pchannelOf } from "@millrace/types";
import {
  type FlushRequest,
  type FlushResponse,
  FlushResponseSchema,
  type GetFlushCheckpointsResponse,
  type GetFlushStateRequest,
  type GetFlushStateResponse,
  GetFlushStateResponseSchema,
  ManualFlushHeaderSchema,
  MessageType,
} from "@millrace/types/gen";
import { idempotencyKey, type ProxyContext, withCollection } from "./context.ts";
import { retryUnavailable } from "./retry.ts";
import { write } from "./write.ts";

/**
 * Puts a flush message on each vchannel, behind everything that was acknowledged before: its tick
 * exceeds one that is taken now.
 */
export async function flush(
  context: ProxyContext,
  request: FlushRequest,
  signal: AbortSignal,
): Promise<FlushResponse> {
  const { clock, random, limits, allocator } = context;
  const key = idempotencyKey("flush", "", random);
  return withCollection(context, request.collection, signal, async (collection) => {
    const { first: barrier } = await retryUnavailable(
      () => allocator.allocateTimestamps({ count: 1 }, { signal }),
      { clock, random, timeoutMs: limits.ownerTimeoutMs, signal },
    );
    const header = toBinary(
      ManualFlushHeaderSchema,
      create(ManualFlushHeaderSchema, { collectionId: collection.id }),
    );
    const type = MessageType.MANUAL_FLUSH;
    const writes = collection.vchannels.map((vchannel) => ({
      vchannel,
      messages: [{ type, vchannel, header }],
      bytes: 0,
    }));
    const answers = await write(context, writes, { key, barrier, signal });
    const positions = collection.vchannels.map((vchannel, shard) => ({
      vchannel,
      tick: answers[shard]?.lastTick ?? 0n,
    }));
    return create(FlushResponseSchema, { positions });
  });
}

/**
 * Asks the owners how far the tables are. A vchannel that its owner no longer knows was dropped with
 * its collection, and has nothing left to flush.
 */
export async function getFlushState(
  context: ProxyContext,
  request: GetFlushStateRequest,
  signal: AbortSignal,
): Promise<GetFlushStateResponse> {
  return withCollection(context, request.collection, signal, async (collection) => {
    const byPchannel = new Map<string, string[]>();
    request.positions.forEach(({ vchannel }, index) => {
      if (!collection.vchannels.includes(vchannel)) {
        const field = `positions[${index}].vchannel`;
        throw new MillraceError(
          "INVALID_ARGUMENT",
          `${field} ${JSON.stringify(vchannel)} is not of the collection ${collection.name}; give the positions that Flush answered`,
          { field },
        );
      }
      const pchannel = pchannelOf(vchannel);
      byPchannel.set(pchannel, [...(byPchannel.get(pchannel) ?? []), vchannel]);
    });
    const answers = await Promise.all(
      Array.from(byPchannel, ([pchannel, vchannels]) =>
        context.owners.call<GetFlushCheckpointsResponse>(
          pchannel,
          signal,
          (handler, at, trySignal) =>
            handler.getFlushCheckpoints({ pchannel: at, vchannels }, { signal: trySignal }),
        ),
      ),
    );
    const checkpoints = answers.flatMap((answer) => answer.checkpoints);
    const reached = new Map(checkpoints.map(({ vchannel, tick }) => [vchannel, tick]));
    return create(GetFlushStateResponseSchema, {
      flushed: request.positions.every(
        ({ vchannel, tick }) => (reached.get(vchannel) ?? tick) >= tick,
      ),
      checkpoints,
      problem: answers.find(({ problem }) => problem !== "")?.problem ?? "",
    });
  });
}
