/**
 * Tail: the messages of a collection as they become durable.
 *
 * @module
 */

import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { type Clock, columnsToRows, MillraceError } from "@millrace/types";
import {
  type Collection,
  ColumnBatchSchema,
  CreateCollectionHeaderSchema,
  DeleteHeaderSchema,
  InsertHeaderSchema,
  MessageType,
  type Partition,
  PartitionHeaderSchema,
  TailFrom,
  type TailMessageSchema,
  type TailPosition,
  type TailPositionSchema,
  type TailRequest,
  type TailResponse,
  TailResponseSchema,
} from "@millrace/types/gen";
import type { StoredMessage } from "@millrace/wal";
import type { ProxyContext } from "./context.ts";
import { createQueue, type Queue } from "./queue.ts";
import { createScope } from "./scope.ts";
import { type ReaderOptions, type ReaderPlace, readVchannel } from "./tail-reader.ts";

/** The longest that a client hears nothing, in milliseconds. */
const heartbeatMs = 5000;

/** Streams a collection's messages until the signal is aborted or the collection is dropped. */
export async function* tail(
  context: ProxyContext,
  request: TailRequest,
  signal: AbortSignal,
): AsyncIterable<TailResponse> {
  const collection = await context.collections.refresh(request.collection, signal);
  const starts = startsOf(request, collection);
  const queue = createQueue<TailResponse>(context.limits.tailBytes);
  const scope = createScope(signal);
  const onAbort = (): void => queue.fail(scope.signal.reason);
  scope.signal.addEventListener("abort", onAbort, { once: true });
  const places = new Map<string, ReaderPlace>();
  let inPlace = false;
  const beat = (): void => {
    if (inPlace) void queue.push(heartbeat(places), 0);
  };
  const observer: TailObserver = {
    onInPlace() {
      inPlace = true;
      beat();
    },
    onProgress: (vchannel, place) => places.set(vchannel, place),
  };
  const reading = readAll(context, request, collection, starts, queue, observer, scope.signal);
  try {
    yield* withHeartbeats(queue, context.clock, beat);
  } finally {
    scope.abort(new MillraceError("CANCELLED", "the tail has ended"));
    await reading;
  }
}

/** Is told how far a tail is. */
interface TailObserver {
  /** All vchannels are read. */
  onInPlace(): void;
  /** Everything of a vchannel up to a place is in the queue. */
  onProgress(vchannel: string, place: ReaderPlace): void;
}

/** Reads all the vchannels into the queue, and ends or fails it. Never rejects. */
async function readAll(
  context: ProxyContext,
  request: TailRequest,
  collection: Collection,
  starts: ReadonlyMap<string, ReaderOptions["start"]>,
  queue: Queue<TailResponse>,
  observer: TailObserver,
  signal: AbortSignal,
): Promise<void> {
  const { owners, clock, logger, tailMemory: memory } = context;
  const partitions = partitionNames(collection.partitions);
  let waiting = starts.size;
  const onReady = (): void => {
    waiting--;
    if (waiting === 0) observer.onInPlace();
  };
  const readers = Array.from(starts, async ([vchannel, start]) => {
    const onMessage = async (message: StoredMessage, place: ReaderPlace): Promise<void> => {
      const response = toResponse(message, place, partitions, request.json);
      if (response) await queue.push(response, message.payload.length);
    };
    const onProgress = (place: ReaderPlace): void => observer.onProgress(vchannel, place);
    const callbacks = { onReady, onProgress, onMessage };
    try {
      const resources = { owners, clock, logger, memory };
      await readVchannel({ vchannel, start, ...resources, ...callbacks, signal });
    } catch (error) {
      queue.fail(error);
    }
  });
  await Promise.all(readers);
  queue.end();
}

/** Where each vchannel begins: behind the position given for it, else where the request says. */
function startsOf(
  request: TailRequest,
  collection: Collection,
): Map<string, ReaderOptions["start"]> {
  const from = request.from === TailFrom.EARLIEST ? "earliest" : "latest";
  const starts = new Map<string, ReaderOptions["start"]>();
  for (const vchannel of collection.vchannels) starts.set(vchannel, from);
  request.positions.forEach((position, index) => {
    const field = `positions[${index}]`;
    if (!starts.has(position.vchannel)) {
      throw new MillraceError(
        "INVALID_ARGUMENT",
        `${field}.vchannel ${JSON.stringify(position.vchannel)} is not of the collection ${collection.name}`,
        { field: `${field}.vchannel` },
      );
    }
    starts.set(position.vchannel, placeOf(position, field));
  });
  return starts;
}

function placeOf({ id, tick, resume }: TailPosition, field: string): ReaderPlace {
  if (tick === 0n) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `${field}.tick is missing; give positions whole, as Tail sends them`,
      { field: `${field}.tick` },
    );
  }
  return {
    id: id && { sequence: sequenceOf(id.sequence, `${field}.id`), index: id.index },
    tick,
    resume: resume === undefined ? undefined : sequenceOf(resume, `${field}.resume`),
  };
}

function sequenceOf(value: bigint, field: string): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new MillraceError("INVALID_ARGUMENT", `${field} is not a place as Tail sends them`, {
    field,
  });
}

/** What the queue holds; `beat` is called when it is quiet. */
async function* withHeartbeats(
  queue: Queue<TailResponse>,
  clock: Clock,
  beat: () => void,
): AsyncIterable<TailResponse> {
  let quiet = true;
  const check = (): void => {
    // A client that is slow to take what there is needs no sign of life.
    if (quiet && queue.isEmpty()) beat();
    quiet = true;
    cancel = clock.schedule(heartbeatMs / 2, check);
  };
  let cancel = clock.schedule(heartbeatMs / 2, check);
  try {
    for (let next = await queue.take(); next; next = await queue.take()) {
      quiet = false;
      yield next;
    }
  } finally {
    cancel();
  }
}

function heartbeat(places: ReadonlyMap<string, ReaderPlace>): TailResponse {
  const positions = Array.from(places, ([vchannel, place]) => toPosition(vchannel, place));
  return create(TailResponseSchema, { event: { case: "heartbeat", value: { positions } } });
}

function toPosition(
  vchannel: string,
  { id, tick, resume }: ReaderPlace,
): MessageInitShape<typeof TailPositionSchema> {
  return {
    vchannel,
    tick,
    ...(id && { id: { sequence: BigInt(id.sequence), index: id.index } }),
    ...(resume !== undefined && { resume: BigInt(resume) }),
  };
}

function partitionNames(partitions: readonly Partition[]): Map<bigint, string> {
  return new Map(partitions.map(({ id, name }) => [id, name]));
}

/** The event of a message; none for those that carry no rows, which may name partitions instead. */
function toResponse(
  message: StoredMessage,
  place: ReaderPlace,
  partitions: Map<bigint, string>,
  json: boolean,
): TailResponse | undefined {
  switch (message.type) {
    case MessageType.INSERT: {
      const { partitionId } = fromBinary(InsertHeaderSchema, message.header);
      return rowsResponse(message, place, partitions.get(partitionId) ?? "", json);
    }
    case MessageType.DELETE: {
      const { partitionId } = fromBinary(DeleteHeaderSchema, message.header);
      return rowsResponse(message, place, partitions.get(partitionId) ?? "", json);
    }
    case MessageType.CREATE_COLLECTION: {
      const { collection } = fromBinary(CreateCollectionHeaderSchema, message.header);
      for (const { id, name } of collection?.partitions ?? []) partitions.set(id, name);
      return undefined;
    }
    case MessageType.CREATE_PARTITION: {
      const { partition } = fromBinary(PartitionHeaderSchema, message.header);
      if (partition) partitions.set(partition.id, partition.name);
      return undefined;
    }
    default:
      return undefined;
  }
}

function rowsResponse(
  message: StoredMessage,
  place: ReaderPlace,
  partition: string,
  json: boolean,
): TailResponse {
  const columns = fromBinary(ColumnBatchSchema, message.payload);
  const value: MessageInitShape<typeof TailMessageSchema> = {
    type: message.type as MessageType,
    position: toPosition(message.vchannel, place),
    partition,
    ...(json ? { rows: columnsToRows(columns) } : { columns }),
  };
  return create(TailResponseSchema, { event: { case: "message", value } });
}
