/**
 * From what was recorded, and the logs as they stand in the end, one history for each log.
 *
 * @module
 */

import { fromBinary } from "@bufbuild/protobuf";
import { MillraceError, type Position, pchannelOf, type Tick } from "@millrace/types";
import { ColumnBatchSchema, MessageType } from "@millrace/types/gen";
import type { RecordBatch } from "@millrace/wal";
import type { HistoryEvent, SeenBatch } from "@millrace/wal/conformance";
import { createFileBackend } from "@millrace/wal/file";
import { nameOfColumns, type Part, type Recorded, type Target } from "./record.ts";

/** A log as it stands. */
export interface ReadLog {
  batches: SeenBatch[];
  /** Where each message with a name stands. */
  places: ReadonlyMap<string, Place>;
}

/** Where a message stands. */
interface Place {
  id: Position;
  tick: Tick;
  term: number;
}

/** Reads the log of a pchannel from its files. Nobody may own it. */
export async function readLog(
  walFolder: string,
  pchannel: string,
  targets: readonly Target[],
): Promise<ReadLog> {
  const isTarget = new Set(targets.flatMap(({ vchannels }) => vchannels));
  const batches: SeenBatch[] = [];
  const places = new Map<string, Place>();
  let log: Awaited<ReturnType<ReturnType<typeof createFileBackend>["openReadOnly"]>>;
  try {
    log = await createFileBackend({ dir: walFolder }).openReadOnly(pchannel);
  } catch (error) {
    if (MillraceError.is(error, "NOT_FOUND")) return { batches, places };
    throw error;
  }
  for await (const batch of log.read(log.bounds().first)) {
    const seen = seenBatch(batch, isTarget);
    for (const [index, { name }] of seen.messages.entries()) {
      if (name === "" || places.has(name)) continue;
      const { sequence, term, firstTick } = batch;
      places.set(name, { id: { sequence, index }, tick: firstTick + BigInt(index), term });
    }
    batches.push(seen);
  }
  await log.close();
  return { batches, places };
}

function seenBatch(batch: RecordBatch, isTarget: ReadonlySet<string>): SeenBatch {
  const { sequence, term, firstTick } = batch;
  const messages = Array.from(batch.messages(), ({ type, vchannel, payload, txn }) => {
    const isInsert = type === MessageType.INSERT && isTarget.has(vchannel);
    const name = isInsert ? nameOfColumns(fromBinary(ColumnBatchSchema, payload)) : "";
    return { name, type, vchannel, txn };
  });
  return { sequence, term, firstTick, messages };
}

/**
 * The history of each pchannel. An acknowledgement of an insert names one tick: that of its message, or
 * of the last of them; so it is where that tick stands that the insert was acknowledged at.
 */
export function historiesOf(
  events: readonly Recorded[],
  logs: ReadonlyMap<string, ReadLog>,
): Map<string, HistoryEvent[]> {
  const histories = new Map<string, HistoryEvent[]>([...logs.keys()].map((name) => [name, []]));
  const tell = (pchannel: string, event: HistoryEvent): void => {
    const history = histories.get(pchannel);
    if (!history) throw new Error(`something happened to ${pchannel}, which is not known`);
    history.push(event);
  };
  const inserts = new Map<number, Extract<Recorded, { kind: "insert" }>>();
  const failed = new Set(events.flatMap((event) => (event.kind === "failed" ? event.op : [])));
  /** Of inserts with an attempt that may have had an effect. */
  const begun = new Map<string, number>();
  const placeOf = ({ vchannel, name }: Part): Place | undefined =>
    logs.get(pchannelOf(vchannel))?.places.get(name);

  for (const event of events) {
    switch (event.kind) {
      case "insert":
        inserts.set(event.op, event);
        if (!failed.has(event.op) && !begun.has(event.key)) begun.set(event.key, event.op);
        for (const part of event.parts) {
          const pchannel = pchannelOf(part.vchannel);
          // What stands nowhere may have been asked of any owner.
          const term = placeOf(part)?.term ?? Number.MAX_SAFE_INTEGER;
          const names = [part.name];
          tell(pchannel, { kind: "append", op: opOf(event, part), term, names, key: event.key });
        }
        break;
      case "inserted": {
        const insert = inserts.get(event.op);
        if (!insert) throw new Error(`insert ${event.op} was answered, but never began`);
        // What an earlier attempt wrote of several messages is not told apart.
        const isFirst = begun.get(insert.key) === event.op;
        const duplicate = !isFirst && (event.duplicate || insert.parts.length > 1);
        const charged = chargedWith(event.tick, insert.parts, placeOf);
        for (const part of insert.parts) {
          const pchannel = pchannelOf(part.vchannel);
          const own = placeOf(part);
          const tick = own && part !== charged ? own.tick : event.tick;
          const id = idAt(logs.get(pchannel), tick);
          const op = opOf(insert, part);
          tell(pchannel, {
            kind: "acknowledged",
            op,
            id,
            firstTick: tick,
            lastTick: tick,
            duplicate,
          });
        }
        break;
      }
      case "failed": {
        const insert = inserts.get(event.op);
        for (const part of insert?.parts ?? []) {
          tell(pchannelOf(part.vchannel), { kind: "failed", op: opOf(event, part) });
        }
        break;
      }
      case "opened":
        tell(event.pchannel, { kind: "open", term: event.term });
        tell(event.pchannel, { kind: "opened", term: event.term });
        break;
      case "read":
        tell(event.pchannel, event.event);
        break;
    }
  }
  for (const [pchannel, { batches }] of logs) tellLog(histories.get(pchannel) ?? [], batches);
  return histories;
}

/** The last reader reads the files. */
function tellLog(history: HistoryEvent[], batches: readonly SeenBatch[]): void {
  const reader = "the reader of the files";
  history.push({ kind: "read", reader, view: "batches", from: "earliest" });
  for (const batch of batches) history.push({ kind: "batch", reader, batch });
  history.push({ kind: "complete", reader });
}

/** Unlike any other attempt or shard of the log. */
function opOf({ op }: { op: number }, { vchannel }: Part): number {
  return op * 64 + Number(/v(\d+)$/.exec(vchannel)?.[1]);
}

/** Which of the messages has the tick of the answer: one that is not there, or else the last. */
function chargedWith(
  tick: Tick,
  parts: readonly Part[],
  placeOf: (part: Part) => Place | undefined,
): Part | undefined {
  const missing = parts.find((part) => !placeOf(part));
  const isLast = (part: Part): boolean => placeOf(part)?.tick === tick;
  return parts.find(isLast) ?? missing ?? parts[0];
}

/** Where a tick stands, or would. */
function idAt(log: ReadLog | undefined, tick: Tick): Position {
  const batches = log?.batches ?? [];
  let low = 0;
  let high = batches.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((batches[middle] as SeenBatch).firstTick <= tick) low = middle + 1;
    else high = middle;
  }
  const batch = batches[low - 1];
  if (!batch) return { sequence: 0, index: 0 };
  return { sequence: batch.sequence, index: Number(tick - batch.firstTick) };
}

/** All messages of inserts that stand in the logs, in no order. */
export function namesIn(logs: Iterable<ReadLog>): string[] {
  return Array.from(logs, ({ places }) => [...places.keys()]).flat();
}
