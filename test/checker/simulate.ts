/**
 * Histories of a log that does everything right: owners that follow each other, crashes, lost answers,
 * retries, transactions, truncation, and readers that begin and end anywhere. From a seed.
 */

import { createSeededRandom } from "@millrace/types/testing";
import type { HistoryEvent, SeenBatch, SeenMessage } from "@millrace/wal/conformance";

const insert = 2;
const beginTxn = 900;
const commitTxn = 901;
const rollbackTxn = 902;

interface Pending {
  op: number;
  names: string[];
  key: string;
  txn: bigint;
  type: number;
  vchannel: string;
}

interface Place {
  id: { sequence: number; index: number };
  firstTick: bigint;
  lastTick: bigint;
}

interface Counted extends Place {
  tick: bigint;
  names: string[];
  vchannel: string;
  /** Where it begins. */
  begin: number;
  /** Where a reader that goes on behind it begins. */
  resume: number;
}

interface Follower {
  name: string;
  view: "batches" | "deliveries";
  /** The next sequence, or the next delivery. */
  next: number;
  /** Deliveries that begin before this sequence are left out. */
  limit: number;
  vchannel: string | undefined;
}

/** A history of `steps` steps. */
export function simulate(seed: number, steps = 200): HistoryEvent[] {
  const random = createSeededRandom(seed);
  const below = (n: number): number => Math.floor(random.next() * n);
  const chance = (p: number): boolean => random.next() < p;
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

  const history: HistoryEvent[] = [];
  const batches: SeenBatch[] = [];
  const counted: Counted[] = [];
  const open = new Map<bigint, { begin: number; names: string[]; vchannel: string }>();
  const written = new Map<string, Place>();
  const retries: Pending[] = [];
  let pending: Pending[] = [];
  let readers: Follower[] = [];
  let first = 0;
  let tick = 1000n;
  let term = 0;
  let ops = 0;
  let messages = 0;
  let readerCount = 0;

  function takeOver(): void {
    const next = term + 1 + below(3);
    history.push({ kind: "open", term: next });
    // What was under way is written before the fence, or never. Its answers may still arrive.
    const late = pending.filter(() => chance(0.5));
    pending = [];
    if (late.length > 0) write(late, chance(0.5));
    term = next;
    history.push({ kind: "opened", term, next: batches.length });
  }

  function append(): void {
    const retry = chance(0.5) ? retries.pop() : undefined;
    const txn = !retry && open.size > 0 && chance(0.4) ? pick([...open.keys()]) : 0n;
    const vchannel = open.get(txn)?.vchannel ?? pick(["a", "b"]);
    const op = ops++;
    const names = retry?.names ?? Array.from({ length: 1 + below(3) }, () => `m${messages++}`);
    const key = retry?.key ?? (chance(0.4) ? `k${op}` : "");
    const request = { ...(retry ?? { txn, vchannel, type: insert }), op, names, key };
    const barrier = chance(0.2) ? tick + BigInt(below(5)) : 0n;
    history.push({ kind: "append", op, term, names, key, txn: request.txn, barrier });
    if (barrier > tick) tick = barrier;
    const place = written.get(names[0] as string);
    if (place) {
      history.push({ kind: "acknowledged", op, ...place, duplicate: true });
    } else if (chance(0.1)) history.push({ kind: "failed", op });
    else pending.push(request);
  }

  function control(): void {
    const op = ops++;
    if (open.size === 0 || chance(0.4)) {
      history.push({ kind: "begin", op, term });
      const vchannel = pick(["a", "b"]);
      pending.push({ op, names: [], key: "", txn: 0n, type: beginTxn, vchannel });
      return;
    }
    const txn = pick([...open.keys()]);
    // What was asked of a transaction is settled before its end is written.
    writeAll(pending.filter((request) => request.txn === txn));
    if (!open.has(txn)) return;
    const { vchannel } = open.get(txn) as { vchannel: string };
    const type = chance(0.7) ? commitTxn : rollbackTxn;
    history.push({ kind: type === commitTxn ? "commit" : "rollback", op, term, txn });
    if (chance(0.1)) history.push({ kind: "failed", op });
    else writeAll([{ op, names: [], key: "", txn, type, vchannel }]);
  }

  function writeAll(requests: readonly Pending[]): void {
    pending = pending.filter((request) => !requests.includes(request));
    if (requests.length > 0) write(requests, true);
  }

  function write(requests: readonly Pending[], answered: boolean): void {
    const sequence = batches.length;
    const firstTick = tick + 1n + BigInt(below(100));
    const stored: SeenMessage[] = [];
    const answers: HistoryEvent[] = [];
    for (const request of requests) {
      const { op, names, key, txn, type, vchannel } = request;
      if (type !== insert && type !== beginTxn && !open.has(txn)) continue;
      // Now and then the owner writes something of its own.
      if (chance(0.1)) stored.push({ name: "", type: 1, vchannel: "", txn: 0n });
      const index = stored.length;
      const at = firstTick + BigInt(index);
      const length = Math.max(1, names.length);
      const place = { id: { sequence, index }, firstTick: at, lastTick: at + BigInt(length - 1) };
      for (const name of names) stored.push({ name, type, vchannel, txn });
      if (names.length === 0) stored.push({ name: "", type, vchannel, txn });
      count(request, place);
      if (names[0]) written.set(names[0], place);
      if (type === rollbackTxn) answers.push({ kind: "settled", op });
      else answers.push({ kind: "acknowledged", op, ...place });
      if (key !== "" && chance(0.4)) retries.push(request);
    }
    if (stored.length === 0) return;
    batches.push({ sequence, term, firstTick, messages: stored });
    tick = firstTick + BigInt(stored.length - 1);
    // An answer that is lost is never known.
    if (answered) history.push(...answers.filter(() => chance(0.9)));
  }

  function count({ names, txn, type, vchannel }: Pending, place: Place): void {
    const { sequence } = place.id;
    if (type === beginTxn) {
      open.set(place.firstTick, { begin: sequence, names: [], vchannel });
    } else if (type === insert && txn !== 0n) {
      open.get(txn)?.names.push(...names);
    } else if (type === insert) {
      const [oldest] = open.values();
      const resume = oldest?.begin ?? sequence;
      counted.push({ ...place, tick: place.lastTick, names, vchannel, begin: sequence, resume });
    } else {
      const transaction = open.get(txn);
      open.delete(txn);
      const [oldest] = open.values();
      if (type !== commitTxn || !transaction) return;
      const resume = oldest?.begin ?? sequence;
      counted.push({ ...place, tick: place.firstTick, ...transaction, resume });
    }
  }

  function truncate(): void {
    const [oldest] = open.values();
    const limit = Math.min(batches.length - 1, oldest?.begin ?? batches.length);
    if (limit <= first) return;
    const before = first + below(limit - first + 1);
    follow(watcher, 1);
    history.push({ kind: "truncate", term, before });
    // As much as the backend can.
    if (chance(0.7)) first = before - below(Math.min(3, before - first + 1));
  }

  function read(): void {
    const name = `reader ${readerCount++}`;
    const view = chance(0.5) ? "batches" : "deliveries";
    const vchannel = chance(0.3) ? pick(["a", "b"]) : undefined;
    const kind = pick(["earliest", "latest", "sequence", "after"] as const);
    const behind = counted.filter(({ resume }) => resume >= first);
    if (kind === "after" && view === "deliveries" && behind.length > 0) {
      const delivery = pick(behind);
      const from = { after: delivery.tick, since: 0 };
      history.push({ kind: "read", reader: name, view, from, vchannel });
      const next = counted.indexOf(delivery) + 1;
      readers.push({ name, view, next, limit: 0, vchannel });
      return;
    }
    let sequence = first;
    if (kind === "latest") sequence = batches.length;
    if (kind === "sequence") sequence = first + below(batches.length - first + 1);
    const from = kind === "sequence" ? { sequence } : kind === "latest" ? kind : "earliest";
    history.push({ kind: "read", reader: name, view, from, vchannel });
    const behindStart = counted.findIndex(({ id }) => id.sequence >= sequence);
    const delivery = behindStart < 0 ? counted.length : behindStart;
    const next = view === "batches" ? sequence : delivery;
    readers.push({ name, view, next, limit: sequence, vchannel });
  }

  function matches({ vchannel }: Follower, other: string): boolean {
    return vchannel === undefined || vchannel === other || other === "";
  }

  /** Brings a reader up to the end, or part of the way; answers whether it goes on. */
  function follow(reader: Follower, part: number): boolean {
    const { name: who, view, limit } = reader;
    const length = view === "batches" ? batches.length : counted.length;
    for (let left = Math.ceil((length - reader.next) * part); left > 0; left--) {
      const at = reader.next++;
      if (view === "deliveries") {
        const delivery = counted[at] as Counted;
        if (!matches(reader, delivery.vchannel) || delivery.begin < limit) continue;
        if (delivery.begin < first) {
          history.push({ kind: "out-of-range", reader: who, first });
          return false;
        }
        const { tick: when, id, names } = delivery;
        history.push({ kind: "delivery", reader: who, delivery: { tick: when, id, names } });
      } else if (at < first) {
        history.push({ kind: "out-of-range", reader: who, first });
        return false;
      } else {
        const batch = batches[at] as SeenBatch;
        if (!batch.messages.some(({ vchannel }) => matches(reader, vchannel))) continue;
        history.push({ kind: "batch", reader: who, batch });
      }
    }
    if (part < 1 || chance(0.5)) return true;
    history.push({ kind: "complete", reader: who });
    return false;
  }

  const watcher: Follower = {
    name: "watcher",
    view: "batches",
    next: 0,
    limit: 0,
    vchannel: undefined,
  };
  history.push({ kind: "read", reader: "watcher", view: "batches", from: "earliest" });
  takeOver();
  for (let step = 0; step < steps; step++) {
    const dice = below(100);
    if (dice < 40) append();
    else if (dice < 50) control();
    else if (dice < 65) writeAll(pending.slice(0, 1 + below(6)));
    else if (dice < 75) read();
    else if (dice < 92) {
      readers = readers.filter((reader) => follow(reader, chance(0.3) ? 1 : random.next()));
      follow(watcher, 1);
    } else if (dice < 95) truncate();
    else if (dice < 97) takeOver();
  }
  writeAll(pending);
  takeOver();
  follow(watcher, 1);
  for (const view of ["batches", "deliveries"] as const) {
    const name = `last reader of ${view}`;
    history.push({ kind: "read", reader: name, view, from: "earliest" });
    const behind = counted.findIndex(({ id }) => id.sequence >= first);
    const next = view === "batches" ? first : behind < 0 ? counted.length : behind;
    follow({ name, view, next, limit: first, vchannel: undefined }, 1);
    history.push({ kind: "complete", reader: name });
  }
  return history;
}
