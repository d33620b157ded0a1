/** Faults of readers and transactions: what is there is not what is seen, or what counts. */

import type {
  AcknowledgedEvent,
  BatchEvent,
  DeliveryEvent,
  HistoryEvent,
  ReadEvent,
} from "@millrace/wal/conformance";
import {
  ackedAppends,
  batchesOf,
  changeBatch,
  type Fault,
  firstSeen,
  inner,
  maxOp,
  pick,
  replace,
} from "./planting.ts";

/** What readers can be shown wrong. */
export const readerFaults: Fault[] = [
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
  {
    name: "a commit is told that the transaction never counts, but it does",
    kinds: ["failed-but-seen"],
    plant(history, random) {
      const commits = history.flatMap((event) => (event.kind === "commit" ? [event] : []));
      const acked = commits.filter(({ op }) =>
        history.some((event) => event.kind === "acknowledged" && event.op === op),
      );
      const commit = pick(acked, random);
      if (!commit) return undefined;
      const op = maxOp(history) + 1;
      return [...history, { ...commit, op }, { kind: "failed", op, code: "TRANSACTION_EXPIRED" }];
    },
  },
  {
    name: "something exclusive stands where a transaction is open",
    kinds: ["transaction"],
    plant(history, random) {
      const begins = [...batchesOf(history).values()].flatMap((batch) => {
        const begin = batch.messages.find(({ type }) => type === 900);
        return begin ? [{ batch, vchannel: begin.vchannel }] : [];
      });
      const begin = pick(begins, random);
      if (!begin) return undefined;
      const { batch, vchannel } = begin;
      const op = maxOp(history) + 1;
      const changed = changeBatch(history, batch.sequence, (seen) => ({
        ...seen,
        messages: [...seen.messages, { name: "alone", type: 9, vchannel, txn: 0n }],
      }));
      return [{ kind: "append", op, term: batch.term, names: ["alone"] }, ...changed];
    },
  },
];
