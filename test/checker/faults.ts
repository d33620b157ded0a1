/**
 * Faults: each makes of a clean history one in which a log did something wrong.
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

interface Acked {
  request: AppendEvent;
  ack: AcknowledgedEvent;
}

function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items[Math.floor(random.next() * items.length)];
}

/** Appends of the one attempt that wrote them, in the order of their acknowledgements. */
function ackedAppends(history: readonly HistoryEvent[]): Acked[] {
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

function batchesOf(history: readonly HistoryEvent[]): Map<number, SeenBatch> {
  const batches = new Map<number, SeenBatch>();
  for (const event of history) {
    if (event.kind === "batch") batches.set(event.batch.sequence, event.batch);
  }
  return batches;
}

/** Changes a batch as all its readers saw it; `undefined` takes it away. */
function changeBatch(
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

function withoutNames(batch: SeenBatch, names: readonly string[]): SeenBatch {
  const messages = batch.messages.map((message) =>
    names.includes(message.name) ? { ...message, name: "", txn: 0n, type: 1 } : message,
  );
  return { ...batch, messages };
}

function replace(
  history: readonly HistoryEvent[],
  old: HistoryEvent,
  ...events: HistoryEvent[]
): HistoryEvent[] {
  return history.flatMap((event) => (event === old ? events : [event]));
}

/** Of events of a kind by one reader, one that has another before it and one behind it. */
function inner<E extends BatchEvent | DeliveryEvent>(
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
function firstSeen(
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

function maxOp(history: readonly HistoryEvent[]): number {
  return history.reduce((max, event) => ("op" in event ? Math.max(max, event.op) : max), 0);
}

/** All that can go wrong. */
export const faults: Fault[] = [
  {
    name: "an acknowledged append is not in the log",
    kinds: ["lost"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      if (!acked) return undefined;
      const { names } = acked.request;
      return changeBatch(history, acked.ack.id.sequence, (batch) => withoutNames(batch, names));
    },
  },
  {
    name: "the last batches of the log are gone at the end",
    kinds: ["lost"],
    plant(history) {
      const last = ackedAppends(history).at(-1);
      if (!last || last.ack.id.sequence === 0) return undefined;
      const { sequence } = last.ack.id;
      return history.filter((event) => event.kind !== "batch" || event.batch.sequence < sequence);
    },
  },
  {
    name: "what counted last is delivered to nobody",
    kinds: ["lost"],
    plant(history) {
      const seen = history.filter((event): event is DeliveryEvent => event.kind === "delivery");
      const last = seen.filter(({ reader }) => reader === "last reader of deliveries").at(-1);
      return last && last.delivery.names.length > 0 ? replace(history, last) : undefined;
    },
  },
  {
    name: "a message stands in the log twice",
    kinds: ["doubled"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      const batch = acked && batchesOf(history).get(acked.ack.id.sequence + 1);
      const original = acked && batchesOf(history).get(acked.ack.id.sequence);
      const again = original?.messages.find(({ name }) => name === acked?.request.names[0]);
      if (!batch || !again) return undefined;
      return changeBatch(history, batch.sequence, (seen) => ({
        ...seen,
        messages: [...seen.messages, again],
      }));
    },
  },
  {
    name: "a retry is written again and acknowledged at another place",
    kinds: ["doubled"],
    plant(history, random) {
      const duplicates = history.filter(
        (event): event is AcknowledgedEvent => event.kind === "acknowledged" && !!event.duplicate,
      );
      const old = pick(duplicates, random);
      if (!old) return undefined;
      // The attempt before must have been answered.
      const request = history.find(
        (event): event is AppendEvent => event.kind === "append" && event.op === old.op,
      );
      const others = history.flatMap((event) =>
        event.kind === "append" && event.names[0] === request?.names[0] && event.op !== old.op
          ? [event.op]
          : [],
      );
      const answered = history.some(
        (event) => event.kind === "acknowledged" && others.includes(event.op),
      );
      const id = { sequence: old.id.sequence + 1, index: 0 };
      return answered ? replace(history, old, { ...old, id }) : undefined;
    },
  },
  {
    name: "an append is called a duplicate of nothing",
    kinds: ["invented"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      return acked && replace(history, acked.ack, { ...acked.ack, duplicate: true });
    },
  },
  {
    name: "the ticks of a batch go back",
    kinds: ["order"],
    plant(history, random) {
      const batches = [...batchesOf(history).values()].filter(({ sequence }) => sequence > 0);
      const batch = pick(batches, random);
      const before = batch && batchesOf(history).get(batch.sequence - 1);
      if (!before) return undefined;
      const { firstTick } = before;
      return changeBatch(history, batch.sequence, (seen) => ({ ...seen, firstTick }));
    },
  },
  {
    name: "an append stands before one that was acknowledged before it began",
    kinds: ["order"],
    plant(history, random) {
      const acked = ackedAppends(history).filter(({ request }) => !request.txn);
      const second = pick(acked, random);
      const first = acked.find(
        ({ ack, request }) =>
          request.term === second?.request.term && ack.id.sequence < second.ack.id.sequence,
      );
      if (!first || !second) return undefined;
      const rest = history.filter((event) => event !== first.request && event !== first.ack);
      const at = rest.indexOf(second.ack) + 1;
      return [...rest.slice(0, at), first.request, first.ack, ...rest.slice(at)];
    },
  },
  {
    name: "appends of one owner are acknowledged out of order",
    kinds: ["order"],
    plant(history, random) {
      const acked = ackedAppends(history);
      const second = pick(acked.slice(1), random);
      if (!second) return undefined;
      const first = acked[acked.indexOf(second) - 1] as Acked;
      if (first.request.term !== second.request.term) return undefined;
      if (history.indexOf(second.request) > history.indexOf(first.ack)) return undefined;
      return history.map((event) => {
        if (event === first.ack) return second.ack;
        return event === second.ack ? first.ack : event;
      });
    },
  },
  {
    name: "an acknowledgement names other ticks than the log",
    kinds: ["order"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      if (!acked) return undefined;
      const { ack } = acked;
      return replace(history, ack, { ...ack, firstTick: ack.firstTick + 1n });
    },
  },
  {
    name: "a tick does not exceed the barrier",
    kinds: ["order"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      if (!acked) return undefined;
      const { request, ack } = acked;
      return replace(history, request, { ...request, barrier: ack.firstTick });
    },
  },
  {
    name: "a batch of a former term stands behind one of a later term",
    kinds: ["order", "fence"],
    plant(history, random) {
      const batches = [...batchesOf(history).values()];
      const lowest = Math.min(...batches.map(({ term }) => term));
      const batch = pick(
        batches.filter(({ term }) => term > lowest),
        random,
      );
      return batch && changeBatch(history, batch.sequence, (seen) => ({ ...seen, term: lowest }));
    },
  },
  {
    name: "a fenced owner acknowledges an append that no reader sees",
    kinds: ["fence"],
    plant(history) {
      const opened = history.flatMap((event, at) =>
        event.kind === "opened" ? [{ ...event, at }] : [],
      );
      const [old, current] = opened.slice(-2);
      if (!old || !current) return undefined;
      const op = maxOp(history) + 1;
      const id = { sequence: current.next as number, index: 0 };
      // Begun before the fence, acknowledged behind it.
      return [
        ...history.slice(0, current.at),
        { kind: "append", op, term: old.term, names: ["late"] },
        history[current.at] as HistoryEvent,
        { kind: "acknowledged", op, id, firstTick: 1n << 60n, lastTick: 1n << 60n },
        ...history.slice(current.at + 1),
      ];
    },
  },
  {
    name: "a fenced owner goes on to acknowledge",
    kinds: ["fence"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      if (!acked) return undefined;
      const at = history.indexOf(acked.request);
      const next = acked.ack.id.sequence + 1;
      const term = acked.request.term + 1;
      if (history.some((event) => event.kind === "opened" && event.term === term)) return undefined;
      const taken: HistoryEvent[] = [
        { kind: "open", term },
        { kind: "opened", term, next },
      ];
      return [...history.slice(0, at), ...taken, ...history.slice(at)];
    },
  },
  {
    name: "a term is opened after a higher one",
    kinds: ["fence"],
    plant(history) {
      const first = history.find((event) => event.kind === "opened");
      if (first?.kind !== "opened") return undefined;
      return [...history, { kind: "open", term: first.term }, first];
    },
  },
  {
    name: "an append that failed is in the log",
    kinds: ["failed-but-seen"],
    plant(history, random) {
      const acked = pick(ackedAppends(history), random);
      return acked && replace(history, acked.ack, { kind: "failed", op: acked.ack.op });
    },
  },
  {
    name: "two readers see different things at one place",
    kinds: ["diverged"],
    plant(history, random) {
      const event = pick(
        history.filter(
          (each): each is BatchEvent => each.kind === "batch" && each.reader !== "watcher",
        ),
        random,
      );
      if (!event) return undefined;
      const term = event.batch.term + 1;
      return replace(history, event, { ...event, batch: { ...event.batch, term } });
    },
  },
  {
    name: "a reader of batches skips one",
    kinds: ["skipped"],
    plant(history, random) {
      const event = inner<BatchEvent>(history, "batch", random);
      return event && replace(history, event);
    },
  },
  {
    name: "a reader of deliveries skips one",
    kinds: ["skipped"],
    plant(history, random) {
      const event = inner<DeliveryEvent>(history, "delivery", random);
      return event && replace(history, event);
    },
  },
  {
    name: "a reader sees a batch again",
    kinds: ["repeated"],
    plant(history, random) {
      const event = inner<BatchEvent>(history, "batch", random);
      return event && replace(history, event, event, event);
    },
  },
  {
    name: "a reader sees a delivery again",
    kinds: ["repeated"],
    plant(history, random) {
      const event = inner<DeliveryEvent>(history, "delivery", random);
      return event && replace(history, event, event, event);
    },
  },
  {
    name: "a reader that goes on behind a delivery misses the next one",
    kinds: ["skipped"],
    plant(history, random) {
      const resumed = (event: ReadEvent): boolean =>
        typeof event.from === "object" && "after" in event.from;
      const event = firstSeen(history, resumed, random);
      return event && replace(history, event);
    },
  },
  {
    name: "a reader that goes on behind a delivery sees it again",
    kinds: ["repeated"],
    plant(history, random) {
      const resumed = history.flatMap((event) =>
        event.kind === "read" && typeof event.from === "object" && "after" in event.from
          ? [{ event, after: event.from.after }]
          : [],
      );
      const reader = pick(resumed, random);
      const seen = history.find(
        (event): event is DeliveryEvent =>
          event.kind === "delivery" &&
          event.delivery.tick === reader?.after &&
          event.delivery.names.length > 0,
      );
      if (!reader || !seen) return undefined;
      const { event } = reader;
      return replace(history, event, event, { ...seen, reader: event.reader });
    },
  },
  {
    name: "a reader that begins at a sequence misses the first batch",
    kinds: ["skipped"],
    plant(history, random) {
      const at = (event: ReadEvent): boolean =>
        event.view === "batches" &&
        event.vchannel === undefined &&
        typeof event.from === "object" &&
        "sequence" in event.from;
      const event = firstSeen(history, at, random);
      return event && replace(history, event);
    },
  },
  {
    name: "an append stands in the log in part",
    kinds: ["torn"],
    plant(history, random) {
      const several = ackedAppends(history).filter(({ request }) => request.names.length > 1);
      const acked = pick(several, random);
      const name = acked?.request.names.at(-1);
      if (!acked || !name) return undefined;
      return changeBatch(history, acked.ack.id.sequence, (batch) => withoutNames(batch, [name]));
    },
  },
  {
    name: "the messages of an append stand in two batches",
    kinds: ["torn"],
    plant(history, random) {
      const several = ackedAppends(history).filter(({ request }) => request.names.length > 1);
      const acked = pick(several, random);
      const name = acked?.request.names.at(-1);
      const batches = batchesOf(history);
      const original = batches.get(acked?.ack.id.sequence ?? -1);
      const moved = original?.messages.find((message) => message.name === name);
      const following = batches.get((original?.sequence ?? 0) + 1);
      if (!original || !moved || !following) return undefined;
      const removed = changeBatch(history, original.sequence, (batch) =>
        withoutNames(batch, [moved.name]),
      );
      return changeBatch(removed, following.sequence, (batch) => ({
        ...batch,
        messages: [...batch.messages, moved],
      }));
    },
  },
  {
    name: "a delivery lacks a message",
    kinds: ["torn"],
    plant(history, random) {
      const several = history.filter(
        (event): event is DeliveryEvent =>
          event.kind === "delivery" && event.delivery.names.length > 1,
      );
      const event = pick(several, random);
      if (!event) return undefined;
      const { delivery } = event;
      const names = delivery.names.slice(1);
      return replace(history, event, { ...event, delivery: { ...delivery, names } });
    },
  },
  {
    name: "messages that belong together are delivered at different ticks",
    kinds: ["torn", "invented"],
    plant(history, random) {
      const several = history.filter(
        (event): event is DeliveryEvent =>
          event.kind === "delivery" && event.delivery.names.length > 1,
      );
      const event = pick(several, random);
      if (!event) return undefined;
      const { tick, id, names } = event.delivery;
      const first = { tick: tick - 1n, id, names: names.slice(0, 1) };
      const rest = { tick, id, names: names.slice(1) };
      return replace(history, event, { ...event, delivery: first }, { ...event, delivery: rest });
    },
  },
  {
    name: "a transaction counts although its commit failed",
    kinds: ["failed-but-seen"],
    plant(history, random) {
      const commits = new Set(
        history.flatMap((event) => (event.kind === "commit" ? [event.op] : [])),
      );
      const acks = history.filter(
        (event): event is AcknowledgedEvent =>
          event.kind === "acknowledged" && commits.has(event.op),
      );
      const ack = pick(acks, random);
      return ack && replace(history, ack, { kind: "failed", op: ack.op });
    },
  },
  {
    name: "a transaction counts that nobody committed, or that was rolled back",
    kinds: ["invented", "transaction"],
    plant(history, random) {
      const commits = history.flatMap((event) => (event.kind === "commit" ? [event] : []));
      const acked = commits.filter(({ op }) =>
        history.some((event) => event.kind === "acknowledged" && event.op === op),
      );
      const commit = pick(acked, random);
      if (!commit) return undefined;
      const { op, term, txn } = commit;
      if (commits.some((other) => other !== commit && other.txn === txn)) return undefined;
      const rest = history.filter((event) => !(event.kind === "acknowledged" && event.op === op));
      if (random.next() < 0.5) return replace(rest, commit);
      return replace(rest, commit, { kind: "rollback", op, term, txn }, { kind: "settled", op });
    },
  },
  {
    name: "a message of a transaction stands behind its commit",
    kinds: ["transaction"],
    plant(history, random) {
      const commits = [...batchesOf(history).values()].flatMap((batch) =>
        batch.messages.filter(({ type }) => type === 901).map(({ txn }) => ({ batch, txn })),
      );
      const commit = pick(commits, random);
      const following = commit && batchesOf(history).get(commit.batch.sequence + 1);
      const names = ["late"];
      if (!commit || !following) return undefined;
      const { txn } = commit;
      const changed = changeBatch(history, following.sequence, (batch) => ({
        ...batch,
        messages: [...batch.messages, { name: "late", type: 2, vchannel: "a", txn }],
      }));
      const op = maxOp(history) + 1;
      return [{ kind: "append", op, term: following.term, names, txn }, ...changed];
    },
  },
  {
    name: "a message is in another transaction than it was written to",
    kinds: ["transaction"],
    plant(history, random) {
      const inside = ackedAppends(history).filter(({ request }) => request.txn);
      const acked = pick(inside, random);
      if (!acked) return undefined;
      const { request } = acked;
      return replace(history, request, { ...request, txn: 0n });
    },
  },
  {
    name: "a message is in the log that nobody wrote",
    kinds: ["invented"],
    plant(history, random) {
      const batch = pick([...batchesOf(history).values()], random);
      if (!batch) return undefined;
      const strange = { name: "strange", type: 2, vchannel: "a", txn: 0n };
      return changeBatch(history, batch.sequence, (seen) => ({
        ...seen,
        messages: [...seen.messages, strange],
      }));
    },
  },
  {
    name: "more is truncated than was asked for",
    kinds: ["truncation"],
    plant(history, random) {
      const event = pick(
        history.filter(
          (each): each is ReadEvent =>
            each.kind === "read" && each.reader === "last reader of batches",
        ),
        random,
      );
      if (!event) return undefined;
      return history.flatMap((each): HistoryEvent[] => {
        if (each.kind === "truncate") return [];
        return each === event
          ? [each, { kind: "out-of-range", reader: each.reader, first: 1 }]
          : [each];
      });
    },
  },
];
