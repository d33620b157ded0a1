/**
 * Planting: what faults are made with.
 */

import type { Random } from "@millrace/types";
import type {
  AcknowledgedEvent,
  AppendEvent,
  BatchEvent,
  DeliveryEvent,
  HistoryEvent,
  ReadEvent,
  SeenBatch,
  ViolationKind,
} from "@millrace/wal/conformance";

/** A way of doing wrong. */
export interface Fault {
  name: string;
  /** What the checker must call it; one of these. */
  kinds: ViolationKind[];
  /** The history with the fault, or `undefined` if this history has no place for it. */
  plant(history: readonly HistoryEvent[], random: Random): HistoryEvent[] | undefined;
}

/** An append that one attempt wrote. */
export interface Acked {
  request: AppendEvent;
  ack: AcknowledgedEvent;
}

/** One of these, or none of none. */
export function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items[Math.floor(random.next() * items.length)];
}

/** Appends of the one attempt that wrote them, in the order of their acknowledgements. */
export function ackedAppends(history: readonly HistoryEvent[]): Acked[] {
  const requests = new Map<number, AppendEvent>();
  const attempts = new Map<string, number>();
  for (const event of history) {
    if (event.kind !== "append") continue;
    const name = event.names[0] ?? "";
    requests.set(event.op, event);
    attempts.set(name, (attempts.get(name) ?? 0) + 1);
  }
  const acked: Acked[] = [];
  for (const event of history) {
    if (event.kind !== "acknowledged") continue;
    const request = requests.get(event.op);
    if (request && attempts.get(request.names[0] ?? "") === 1) acked.push({ request, ack: event });
  }
  return acked;
}

/** The batches of a log by sequence, as somebody saw them. */
export function batchesOf(history: readonly HistoryEvent[]): Map<number, SeenBatch> {
  const batches = new Map<number, SeenBatch>();
  for (const event of history) {
    if (event.kind === "batch") batches.set(event.batch.sequence, event.batch);
  }
  return batches;
}

/** Changes a batch as all its readers saw it; `undefined` takes it away. */
export function changeBatch(
  history: readonly HistoryEvent[],
  sequence: number,
  change: (batch: SeenBatch) => SeenBatch | undefined,
): HistoryEvent[] {
  return history.flatMap((event) => {
    if (event.kind !== "batch" || event.batch.sequence !== sequence) return [event];
    const batch = change(event.batch);
    return batch ? [{ ...event, batch }] : [];
  });
}

/** The batch as if these messages were not there. */
export function withoutNames(batch: SeenBatch, names: readonly string[]): SeenBatch {
  const messages = batch.messages.map((message) =>
    names.includes(message.name) ? { ...message, name: "", txn: 0n, type: 1 } : message,
  );
  return { ...batch, messages };
}

/** Puts other events, or none, in the place of one. */
export function replace(
  history: readonly HistoryEvent[],
  old: HistoryEvent,
  ...events: HistoryEvent[]
): HistoryEvent[] {
  return history.flatMap((event) => (event === old ? events : [event]));
}

/** Of events of a kind by one reader, one that has another before it and one behind it. */
export function inner<E extends BatchEvent | DeliveryEvent>(
  history: readonly HistoryEvent[],
  kind: E["kind"],
  random: Random,
): E | undefined {
  const byReader = new Map<string, E[]>();
  for (const event of history) {
    if (event.kind !== kind) continue;
    const seen = event as E;
    if (seen.kind === "delivery" && seen.delivery.names.length === 0) continue;
    const events = byReader.get(seen.reader) ?? [];
    events.push(seen);
    byReader.set(seen.reader, events);
  }
  const middles = [...byReader.values()].flatMap((events) => events.slice(1, -1));
  return pick(middles, random);
}

/** The first thing that a reader saw that began in this way. */
export function firstSeen(
  history: readonly HistoryEvent[],
  began: (event: ReadEvent) => boolean,
  random: Random,
): BatchEvent | DeliveryEvent | undefined {
  const readers = new Set<string>();
  const firsts: (BatchEvent | DeliveryEvent)[] = [];
  const last = new Map<string, number>();
  history.forEach((event, i) => {
    if (event.kind === "batch" || event.kind === "delivery") last.set(event.reader, i);
  });
  history.forEach((event, i) => {
    if (event.kind === "read" && began(event)) readers.add(event.reader);
    if (event.kind !== "batch" && event.kind !== "delivery") return;
    if (event.kind === "delivery" && event.delivery.names.length === 0) return;
    if (readers.delete(event.reader) && last.get(event.reader) !== i) firsts.push(event);
  });
  return pick(firsts, random);
}

/** The highest number of an operation. */
export function maxOp(history: readonly HistoryEvent[]): number {
  return history.reduce((max, event) => ("op" in event ? Math.max(max, event.op) : max), 0);
}
