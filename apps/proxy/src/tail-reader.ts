/**
 * Reading one vchannel, over any number of owners, each message once.
 *
 * @module
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type Clock,
  type Logger,
  MillraceError,
  type Position,
  pchannelOf,
  type Tick,
} from "@millrace/types";
import { type ConsumeRequestSchema, type ConsumeResponse, MessageType } from "@millrace/types/gen";
import {
  type Assembler,
  createAssembler,
  type Delivery,
  decodeBatches,
  type RecordBatch,
  type StoredMessage,
} from "@millrace/wal";
import type { Owner } from "./assignments.ts";
import { isMoved, type Owners } from "./owners.ts";
import { createScope } from "./scope.ts";
import type { TailMemory, TailShare } from "./tail-memory.ts";

/** A place in a vchannel: behind a message, or behind all that counts up to a tick. */
export interface ReaderPlace {
  /** The message that was received last; absent: all that counts up to the tick was. */
  id?: Position | undefined;
  /** From when the message counts. */
  tick: Tick;
  /**
   * Where to read on: transactions that are open at the place began at or behind this sequence. Absent:
   * at the message, or at the beginning of the log.
   */
  resume?: number | undefined;
}

/** Options of {@linkcode readVchannel}. */
export interface ReaderOptions {
  vchannel: string;
  start: "earliest" | "latest" | ReaderPlace;
  owners: Owners;
  clock: Clock;
  logger: Logger;
  /** Counts what is held of transactions that are open. */
  memory: TailMemory;
  /** Called once, when the first owner has the stream in place. */
  onReady: () => void;
  /** Called when everything up to a place has been handed over, with ticks that grow. */
  onProgress?: (place: ReaderPlace) => void;
  /** Takes a message and the place behind it; the next is read when it resolves. */
  onMessage: (message: StoredMessage, place: ReaderPlace) => Promise<void>;
  /** Ends the reader. */
  signal: AbortSignal;
}

/** Owners say something every 5 seconds; a stream silent for this long is dead. */
const silenceMs = 15_000;

/** What a reader knows of where it is. */
interface Progress {
  /** Holds the messages of transactions that are open. Goes on where the owner changes. */
  assembler: Assembler;
  share: TailShare;
  /** What was received before the reader began; absent when all of that lies behind. */
  received: ReaderPlace | undefined;
  /** The first batch that was not taken; absent until an owner has said where the stream begins. */
  next: number | undefined;
  /** All that counts up to here was handed over, or was received before. */
  tick: Tick;
  ready: boolean;
}

/**
 * Delivers what counts of a vchannel, in order, until the signal is aborted or the vchannel ends: the
 * messages of a transaction come one after the other when it is committed. Goes on at the new owner
 * when its pchannel moves. Throws `OUT_OF_RANGE` if what comes next was truncated, `DATA_LOSS` if it is
 * damaged, `RESOURCE_EXHAUSTED` if transactions that are open need more memory than there is.
 */
export async function readVchannel(options: ReaderOptions): Promise<void> {
  const share = options.memory.join();
  try {
    await readOverOwners(options, share);
  } finally {
    share.leave();
  }
}

async function readOverOwners(options: ReaderOptions, share: TailShare): Promise<void> {
  const { vchannel, owners, logger, signal, start } = options;
  const pchannel = pchannelOf(vchannel);
  const received = typeof start === "object" ? start : undefined;
  const progress: Progress = {
    assembler: createAssembler({ vchannel }),
    share,
    received,
    next: received?.resume ?? received?.id?.sequence,
    tick: received?.tick ?? 0n,
    ready: false,
  };
  for (let attempt = 0; ; attempt++) {
    const owner = await owners.find(pchannel, signal);
    try {
      const ended = await readFrom(owner, pchannel, options, progress, () => {
        attempt = 0;
      });
      if (ended) return;
      throw new MillraceError("UNAVAILABLE", `the owner of ${pchannel} ended the stream`);
    } catch (reason) {
      if (signal.aborted) throw signal.reason;
      const error = MillraceError.from(reason);
      if (!isMoved(error)) throw error;
      logger.debug("a tail goes on elsewhere", { vchannel, error, attempt });
      await owners.recover({ pchannel, owner, error, attempt }, signal);
    }
  }
}

/** Reads from one owner. Answers `true` at the end of the vchannel. */
async function readFrom(
  owner: Owner,
  pchannel: string,
  options: ReaderOptions,
  progress: Progress,
  onResponse: () => void,
): Promise<boolean> {
  const { vchannel, clock } = options;
  const scope = createScope(options.signal);
  let cancel = (): void => undefined;
  const watch = (): void => {
    cancel();
    cancel = clock.schedule(silenceMs, () => scope.abort());
  };
  const request: MessageInitShape<typeof ConsumeRequestSchema> = {
    pchannel: { name: pchannel, term: owner.term },
    from: startOf(options.start, progress.next),
    vchannel,
  };
  try {
    watch();
    const responses = options.owners.handlerOf(owner).consume(request, { signal: scope.signal });
    for await (const response of responses) {
      cancel();
      onResponse();
      if (await deliver(response, options, progress)) return true;
      watch();
    }
    return false;
  } catch (error) {
    if (scope.signal.aborted && !options.signal.aborted) {
      throw new MillraceError("UNAVAILABLE", `the owner of ${pchannel} is silent`, {
        cause: error,
      });
    }
    throw error;
  } finally {
    cancel();
    scope.abort();
  }
}

function startOf(
  start: ReaderOptions["start"],
  next: number | undefined,
): NonNullable<MessageInitShape<typeof ConsumeRequestSchema>["from"]> {
  if (next !== undefined) return { case: "sequence", value: BigInt(next) };
  if (start === "latest") return { case: "latest", value: true };
  return { case: "earliest", value: true };
}

/** Hands over what came. Answers `true` at the end of the vchannel. */
async function deliver(
  response: ConsumeResponse,
  options: ReaderOptions,
  progress: Progress,
): Promise<boolean> {
  // A stream from the latest place begins with what is open, between what counted before.
  if (progress.next === undefined && options.start === "latest") {
    progress.received = { tick: response.tick };
  }
  for (const batch of decodeBatches(response.batches)) {
    if (await deliverBatch(batch, options, progress)) return true;
  }
  progress.next = Math.max(progress.next ?? 0, Number(response.next));
  if (response.tick > progress.tick) {
    progress.tick = response.tick;
    options.onProgress?.(placeOf(progress, progress.next));
  }
  if (!progress.ready) {
    progress.ready = true;
    options.onReady();
  }
  return false;
}

/** The place behind all that was handed over. */
function placeOf({ assembler, tick }: Progress, next: number): ReaderPlace {
  return { tick, resume: Math.min(assembler.oldestOpen() ?? next, next) };
}

async function deliverBatch(
  batch: RecordBatch,
  options: ReaderOptions,
  progress: Progress,
): Promise<boolean> {
  const { assembler } = progress;
  const { sequence } = batch;
  // Within a delivery, a reader must begin where its own transaction began, open before this batch.
  const within = Math.min(assembler.oldestOpen() ?? sequence, sequence);
  for (const delivery of assembler.take(batch)) {
    const messages = unreceived(delivery, progress.received);
    if (progress.received && delivery.tick > progress.received.tick) progress.received = undefined;
    for (const [index, message] of messages.entries()) {
      const { id, txn } = message;
      const tick = txn === 0n ? message.tick : delivery.tick;
      const resume = index === messages.length - 1 ? delivery.resume : within;
      await options.onMessage(message, { id, tick, resume });
      if (message.type === MessageType.DROP_COLLECTION) return true;
    }
  }
  progress.next = sequence + 1;
  progress.share.hold(assembler.heldBytes());
  return false;
}

/** The messages of a delivery that were not received before. */
function unreceived(
  { tick, messages }: Delivery,
  received: ReaderPlace | undefined,
): readonly StoredMessage[] {
  if (!received) return messages;
  const { id } = received;
  if (tick < received.tick || (!id && tick === received.tick)) return [];
  // The message is of this delivery, or of one before it.
  return id ? messages.slice(messages.findIndex((each) => isAt(each, id)) + 1) : messages;
}

function isAt({ id }: StoredMessage, { sequence, index }: Position): boolean {
  return id.sequence === sequence && id.index === index;
}
