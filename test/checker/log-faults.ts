/** Faults of the log itself: what was acknowledged is not what is there. */

import type { AcknowledgedEvent, AppendEvent, HistoryEvent } from "@millrace/wal/conformance";
import {
  type Acked,
  ackedAppends,
  batchesOf,
  changeBatch,
  type Fault,
  maxOp,
  pick,
  replace,
  withoutNames,
} from "./planting.ts";

/** What a log can do wrong. */
export const logFaults: Fault[] = [
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
];
