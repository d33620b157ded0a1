/**
 * HandlerService: writing and reading the pchannels that a node holds.
 *
 * @module
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { errorToDetail } from "@millrace/rpc";
import { type Clock, MillraceError } from "@millrace/types";
import type {
  AppendRequest,
  AppendResponseSchema,
  ConsumeRequest,
  ConsumeResponseSchema,
  HandlerService,
  ProduceRequest,
  ProduceResponseSchema,
} from "@millrace/types/gen";
import type { Wal } from "@millrace/wal";
import { appendTo } from "./append-to.ts";
import { pumpBatches, type StreamPlace } from "./batch-pump.ts";
import { mergeAnswers } from "./merger.ts";
import type { Pchannels } from "./pchannels.ts";
import { pchannelTerm, safeNumber } from "./request.ts";

/** Options of {@linkcode createHandler}. */
export interface HandlerOptions {
  pchannels: Pchannels;
  clock: Clock;
  /** Bytes of a message of a Consume stream. Default 1 MiB. */
  pieceBytes?: number;
  /** How many appends of one Produce stream may be under way. Default 256. */
  maxProduces?: number;
}

/** How often a Consume stream on which nothing comes tells where it is, in milliseconds. */
const idleMs = 1000;
/** How long a Consume stream is silent at most, in milliseconds. */
const silenceMs = 5000;

/** Serves HandlerService. */
export function createHandler(options: HandlerOptions): ServiceImpl<typeof HandlerService> {
  const { pchannels, clock, pieceBytes = 1024 * 1024, maxProduces = 256 } = options;

  const append = async (
    request: AppendRequest,
    signal: AbortSignal,
  ): Promise<MessageInitShape<typeof AppendResponseSchema>> => {
    const { name, term } = pchannelTerm(request);
    const { wal } = pchannels.find(name, term);
    return appendTo(wal, request, signal);
  };

  const produceOne = async (
    { requestId, append: request }: ProduceRequest,
    signal: AbortSignal,
  ): Promise<MessageInitShape<typeof ProduceResponseSchema>> => {
    try {
      if (!request) {
        throw new MillraceError("INVALID_ARGUMENT", "append is missing", { field: "append" });
      }
      return { requestId, result: { case: "append", value: await append(request, signal) } };
    } catch (error) {
      const value = errorToDetail(MillraceError.from(error));
      return { requestId, result: { case: "error", value } };
    }
  };

  return {
    append: (request, context) => append(request, context.signal),

    produce(requests, { signal }) {
      return mergeAnswers(requests, maxProduces, (request) => produceOne(request, signal));
    },

    async *consume(
      request: ConsumeRequest,
      { signal }: HandlerContext,
    ): AsyncGenerator<MessageInitShape<typeof ConsumeResponseSchema>> {
      const { name, term } = pchannelTerm(request);
      const { wal } = pchannels.find(name, term);
      const start = startOf(wal, request);
      const pieces = pumpBatches(wal.scan({ from: { sequence: start.next }, signal }), {
        vchannel: request.vchannel,
        start,
        end: () => ({ tick: wal.confirmedTick(), next: wal.bounds().next }),
        pieceBytes,
        idleMs,
        silenceMs,
        clock,
        signal,
      });
      yield { tick: start.tick, next: BigInt(start.next) };
      for await (const { bytes, tick, next } of pieces) {
        yield { batches: bytes, tick, next: BigInt(next) };
      }
      signal.throwIfAborted();
      wal.signal.throwIfAborted();
    },

    getFlushCheckpoints(request) {
      const { name, term } = pchannelTerm(request);
      const { flusher, wal } = pchannels.find(name, term);
      const existing = wal.vchannels();
      const checkpoints = request.vchannels.flatMap((vchannel) => {
        // One that exists and that the flusher has not read of yet is not a dropped one.
        const tick = flusher.checkpoint(vchannel) ?? (existing.has(vchannel) ? 0n : undefined);
        return tick === undefined ? [] : [{ vchannel, tick }];
      });
      return { checkpoints, problem: flusher.status().problem };
    },
  };
}

/** Where a stream begins. */
function startOf(wal: Wal, { from }: ConsumeRequest): StreamPlace {
  switch (from.case) {
    case "earliest":
      return { tick: 0n, next: wal.bounds().first };
    case "latest":
      return { tick: wal.lastTick(), next: wal.lastConfirmed() };
    case "sequence":
      return { tick: 0n, next: safeNumber(from.value, "sequence") };
    default:
      throw new MillraceError(
        "INVALID_ARGUMENT",
        "from is missing; give earliest, latest or a sequence",
        { field: "from" },
      );
  }
}
