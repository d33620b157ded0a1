/**
 * Reading one vchannel, over any number of owners, each message once.
 *
 * @module
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type Clock,
  comparePositions,
  type Logger,
  MillraceError,
  type Position,
  pchannelOf,
  type Tick,
} from "@millrace/types";
import { type ConsumeRequestSchema, type ConsumeResponse, MessageType } from "@millrace/types/gen";
import { decodeBatches, type RecordBatch, type StoredMessage } from "@millrace/wal";
import type { Owner } from "./assignments.ts";
import { isMoved, type Owners } from "./owners.ts";
import { createScope } from "./scope.ts";

/** Where a reader begins. */
export type ReaderStart =
  | "earliest"
  | "latest"
  /** Behind a message that was received before. */
  | { after: Position }
  /** Behind all messages up to a tick. */
  | { afterTick: Tick };

/** Options of {@linkcode readVchannel}. */
export interface ReaderOptions {
  vchannel: string;
  start: ReaderStart;
  owners: Owners;
  clock: Clock;
  logger: Logger;
  /** Called once, when the first owner has the stream in place. */
  onReady: () => void;
  /** Called when every message up to a tick has been handed over, with ticks that grow. */
  onTick?: (tick: Tick) => void;
  /** Takes a message; the next is read when it resolves. */
  onMessage: (message: StoredMessage) => Promise<void>;
  /** Ends the reader. */
  signal: AbortSignal;
}

/** Owners say something every 5 seconds; a stream silent for this long is dead. */
const silenceMs = 15_000;

/** What a reader knows of where it is. */
interface Progress {
  /** Messages up to here were delivered, or had been before. */
  last: Position | undefined;
  /** The first sequence that may hold more; `undefined`: no batch was received yet. */
  nextSequence: number | undefined;
  /** Every message up to here has been received. */
  tick: bigint;
  ready: boolean;
  /** Set while it must be shown that nothing was lost to truncation: what is thrown otherwise. */
  doubt: MillraceError | undefined;
}

/**
 * Delivers the messages of a vchannel in order until the signal is aborted or the vchannel ends.
 * Goes on at the new owner when its pchannel moves, behind the last message delivered. Throws
 * `OUT_OF_RANGE` if what comes next was truncated, `DATA_LOSS` if it is damaged.
 */
export async function readVchannel(options: ReaderOptions): Promise<void> {
  const { vchannel, owners, logger, signal, start } = options;
  const pchannel = pchannelOf(vchannel);
  const after = typeof start === "object" && "after" in start ? start.after : undefined;
  const afterTick = typeof start === "object" && "afterTick" in start ? start.afterTick : 0n;
  const progress: Progress = {
    last: after,
    nextSequence: after?.sequence,
    tick: afterTick,
    ready: false,
    doubt: undefined,
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
      if (error.code === "OUT_OF_RANGE" && progress.ready && !progress.doubt) {
        progress.doubt = error;
        continue;
      }
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
    from: startOf(options.start, progress),
    vchannel: progress.doubt ? "" : vchannel,
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

/**
 * Where to ask for. A quiet vchannel's place may be truncated with the rest of its log although
 * nothing of its own was missed: then everything is read, and `deliverBatch` decides. A reader that
 * began at `latest` and has no batch yet asks for everything and drops what lies before the tick it
 * is at: nothing written while the pchannel moved is missed.
 */
function startOf(
  start: ReaderStart,
  { nextSequence, ready, doubt }: Progress,
): NonNullable<MessageInitShape<typeof ConsumeRequestSchema>["from"]> {
  if (doubt) return { case: "earliest", value: true };
  if (nextSequence !== undefined) return { case: "sequence", value: BigInt(nextSequence) };
  if (start === "latest" && !ready) return { case: "latest", value: true };
  return { case: "earliest", value: true };
}

async function deliver(
  response: ConsumeResponse,
  options: ReaderOptions,
  progress: Progress,
): Promise<boolean> {
  for (const batch of decodeBatches(response.batches)) {
    if (await deliverBatch(batch, options, progress)) return true;
  }
  if (response.tick > progress.tick) {
    progress.tick = response.tick;
    options.onTick?.(response.tick);
  }
  if (!progress.ready) {
    progress.ready = true;
    options.onReady();
  }
  return false;
}

async function deliverBatch(
  batch: RecordBatch,
  options: ReaderOptions,
  progress: Progress,
): Promise<boolean> {
  if (progress.doubt) {
    // The first batch that the log holds: is there a gap between it and what was received?
    if (batch.firstTick > progress.tick) throw progress.doubt;
    progress.doubt = undefined;
  }
  // Until a batch has been received whole, the tick says what has been; afterwards, its position.
  if (progress.nextSequence === undefined && batch.lastTick <= progress.tick) return false;
  for (const message of batch.messages()) {
    if (message.vchannel !== options.vchannel) continue;
    if (progress.last && comparePositions(message.id, progress.last) <= 0) continue;
    if (!progress.last && message.tick <= progress.tick) continue;
    await options.onMessage(message);
    progress.last = message.id;
    if (message.type === MessageType.DROP_COLLECTION) return true;
  }
  progress.nextSequence = batch.sequence + 1;
  return false;
}
