/**
 * The state of one pchannel: who owns it at which term, and who may still believe to.
 *
 *   uninitialized ─beginAssign→ assigning ─finishAssign→ assigned ─markUnavailable→ unavailable
 *                                   ↑ beginAssign from any state: a new attempt is a new term
 *
 * Plain data and pure functions; {@linkcode createBalancer} saves each new state before it acts.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";

/** One run of a node: a node that restarts is another one. */
export interface NodeRun {
  nodeId: string;
  /** Random at each start of the node. */
  incarnation: string;
}

/** A run of a node, and where it is. */
export interface Owner extends NodeRun {
  /** Its base URL. */
  address: string;
}

/** An owner of before, which may still hold the pchannel. */
export interface FormerOwner extends Owner {
  /** The highest term at which it may hold it. */
  term: number;
}

/** How far a pchannel's assignment is; as in `PchannelStatus.state`. */
export type PchannelState = "uninitialized" | "assigning" | "assigned" | "unavailable";

/** A pchannel as it is persisted. */
export interface PchannelRecord {
  readonly name: string;
  /** Of the last attempt to assign it; 0: there was none. Grows with each attempt. */
  readonly term: number;
  readonly state: PchannelState;
  /** Of `term`; `undefined` if it was given up without a successor. */
  readonly owner: Owner | undefined;
  /** Must let go before the next owner may begin. */
  readonly former: readonly FormerOwner[];
  /** Where an operator wants it; `undefined` once another run was given it. */
  readonly preferred: NodeRun | undefined;
  /** When it was assigned last, in milliseconds since 1970 by the wall clock; 0: never. */
  readonly assignedAt: number;
}

/** A pchannel that nobody has owned yet. */
export function uninitialized(name: string): PchannelRecord {
  return {
    name,
    term: 0,
    state: "uninitialized",
    owner: undefined,
    former: [],
    preferred: undefined,
    assignedAt: 0,
  };
}

/**
 * Begins an attempt to give it to `owner`, at a term above the last one and above `floor`. Ends an
 * operator's wish for another run.
 */
export function beginAssign(record: PchannelRecord, owner: Owner, floor = 0): PchannelRecord {
  const term = Math.max(record.term, floor) + 1;
  const preferred = isSameRun(record.preferred, owner) ? record.preferred : undefined;
  return { ...record, term, state: "assigning", owner, former: formerOwners(record), preferred };
}

/** An operator wants it at this run. */
export function prefer(record: PchannelRecord, run: NodeRun): PchannelRecord {
  if (isSameRun(record.preferred, run)) return record;
  return { ...record, preferred: { nodeId: run.nodeId, incarnation: run.incarnation } };
}

/** Every former owner has let go. */
export function formerRemoved(record: PchannelRecord): PchannelRecord {
  return { ...record, former: [] };
}

/** The attempt succeeded, at this time by the wall clock. */
export function finishAssign(record: PchannelRecord, now: number): PchannelRecord {
  return { ...record, state: "assigned", assignedAt: now };
}

/** The owner at `term` does not serve it. Unchanged if it is not assigned at that very term. */
export function markUnavailable(record: PchannelRecord, term: number): PchannelRecord {
  if (record.state !== "assigned" || record.term !== term) return record;
  return { ...record, state: "unavailable" };
}

/** Begins to take it from its owner without a successor. */
export function beginRelease(record: PchannelRecord): PchannelRecord {
  const former = formerOwners(record);
  return { ...record, state: "unavailable", owner: undefined, former, preferred: undefined };
}

/** `true` if this run of a node owns it or may still hold it. */
export function mayHold(record: PchannelRecord, run: NodeRun): boolean {
  return isSameRun(record.owner, run) || record.former.some((owner) => isSameRun(owner, run));
}

/** `true` if both are the same run of the same node. */
export function isSameRun(a: NodeRun | undefined, b: NodeRun | undefined): boolean {
  return a !== undefined && a.nodeId === b?.nodeId && a.incarnation === b.incarnation;
}

/** One entry for each run of a node, so that endless attempts do not grow the record. */
function formerOwners(record: PchannelRecord): FormerOwner[] {
  if (record.owner === undefined) return [...record.former];
  const { owner, term } = record;
  const others = record.former.filter((other) => !isSameRun(other, owner));
  return [...others, { ...owner, term }];
}

/** A record as bytes for the MetaStore. */
export function encodeRecord(record: PchannelRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

/** Reads what {@linkcode encodeRecord} wrote; `DATA_LOSS` if it is something else. */
export function decodeRecord(key: string, bytes: Uint8Array): PchannelRecord {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    // What is undefined is absent in JSON; the last two fields were not always there.
    if (isRecord(value)) {
      const { owner, preferred, assignedAt = 0 } = value;
      return { ...value, owner, preferred, assignedAt };
    }
  } catch (cause) {
    throw damaged(key, cause);
  }
  throw damaged(key);
}

function damaged(key: string, cause?: unknown): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `the metadata at ${key} is not the state of a pchannel; restore it from a backup`,
    { cause },
  );
}

const states: readonly unknown[] = ["uninitialized", "assigning", "assigned", "unavailable"];

function isRecord(value: unknown): value is Omit<PchannelRecord, "assignedAt"> & {
  assignedAt?: number;
} {
  if (!isObject(value)) return false;
  const { name, term, state, owner, former, preferred, assignedAt } = value;
  return (
    typeof name === "string" &&
    isTerm(term) &&
    states.includes(state) &&
    (owner === undefined || isOwner(owner)) &&
    Array.isArray(former) &&
    former.every((o) => isOwner(o) && isTerm((o as unknown as FormerOwner).term)) &&
    (preferred === undefined || isRun(preferred)) &&
    (assignedAt === undefined || typeof assignedAt === "number")
  );
}

function isOwner(value: unknown): value is Owner {
  return isRun(value) && typeof (value as Partial<Owner>).address === "string";
}

function isRun(value: unknown): value is NodeRun {
  return (
    isObject(value) && typeof value.nodeId === "string" && typeof value.incarnation === "string"
  );
}

function isTerm(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
