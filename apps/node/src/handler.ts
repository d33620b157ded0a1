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
import type { ScanFrom, Wal } from "@millrace/wal";
import { appendTo } from "./append-to.ts";
import { pumpBatches } from "./batch-pump.ts";
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

/** How long a Consume stream is silent at most, in milliseconds. */
const heartbeatMs = 5000;

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
      // Both before anything can be written in between.
      const sent = request.from.case === "latest" ? wal.lastTick() : 0n;
      const pieces = pumpBatches(scan(wal, request, signal), {
        pieceBytes,
        idleMs: heartbeatMs,
        clock,
        signal,
      });
      yield { batches: new Uint8Array(), tick: sent };
      for await (const { bytes, lastTick } of pieces) {
        yield { batches: bytes, tick: lastTick > sent ? lastTick : sent };
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

function scan(wal: Wal, request: ConsumeRequest, signal: AbortSignal): ReturnType<Wal["scan"]> {
  const { vchannel } = request;
  const from = scanFrom(request);
  return wal.scan(vchannel === "" ? { from, signal } : { from, vchannel, signal });
}

function scanFrom({ from }: ConsumeRequest): ScanFrom {
  switch (from.case) {
    case "earliest":
      return "earliest";
    case "latest":
      return "latest";
    case "sequence":
      return { sequence: safeNumber(from.value, "sequence") };
    default:
      throw new MillraceError(
        "INVALID_ARGUMENT",
        "from is missing; give earliest, latest or a sequence",
        { field: "from" },
      );
  }
}
