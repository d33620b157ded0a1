/**
 * Tasks as they are saved: a line of JSON, then the message's header and payload as they are.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { AckWhen, AppendResult, BroadcastMessage } from "./contracts.ts";
import type { ResourceKey } from "./resource-keys.ts";

/** What a task has whether it is under way or over. */
interface RecordBase {
  id: bigint;
  /** Of the broadcaster that wrote it. */
  epoch: number;
  keys: readonly ResourceKey[];
  /** The client's; empty: none. */
  idempotencyKey: string;
  /** Where copies stand, by vchannel. */
  results: Map<string, AppendResult>;
  /** The vchannel among them that is the control channel; empty: there is none. */
  control: string;
  leftOut: readonly string[];
}

/** A task that is under way. */
export interface PendingTask extends RecordBase {
  state: "pending";
  message: BroadcastMessage;
  ackWhen: AckWhen;
  /** Who gets a copy. */
  vchannels: readonly string[];
  /** Who has acknowledged, besides by being appended. */
  acked: Set<string>;
  /** When it was begun, in milliseconds since 1970. */
  since: number;
}

/** A task that is over. */
export interface Tombstone extends RecordBase {
  /** `aborted`: by an operator, and its callback did not run. */
  state: "done" | "aborted";
  type: number;
  /** When it ended, in milliseconds since 1970. */
  endedAt: number;
}

/** A task as it is saved. */
export type TaskRecord = PendingTask | Tombstone;

/** What the keys of all tasks' records begin with. */
export function recordsPrefix(prefix: string): string {
  return `${prefix}tasks/`;
}

/** The key of a task's record; in order of ids. */
export function recordKey(prefix: string, id: bigint): string {
  return `${recordsPrefix(prefix)}${id.toString().padStart(20, "0")}`;
}

/** What an idempotency key of a client is unique in: broadcasts of one type with the same keys. */
export function scopeOf(record: TaskRecord): string {
  const type = record.state === "pending" ? record.message.type : record.type;
  return scopeName(type, record.keys, record.idempotencyKey);
}

/** As {@linkcode scopeOf}, of a broadcast that has no record yet. */
export function scopeName(type: number, keys: readonly ResourceKey[], key: string): string {
  return JSON.stringify([type, keys.map(({ domain, key, mode }) => [domain, key, mode]), key]);
}

/** A record as bytes. */
export function encodeTask(record: TaskRecord): Uint8Array {
  const { results, ...rest } = record;
  const { header, payload } = record.state === "pending" ? record.message : nothing;
  const line = JSON.stringify({
    ...rest,
    id: record.id.toString(),
    results: [...results].map(([vchannel, { id, tick, resume }]) => {
      return [vchannel, id.sequence, id.index, tick.toString(), resume];
    }),
    ...(record.state === "pending" && {
      acked: [...record.acked],
      message: { type: record.message.type, header: header.length, payload: payload.length },
    }),
  });
  const text = new TextEncoder().encode(`${line}\n`);
  const bytes = new Uint8Array(text.length + header.length + payload.length);
  bytes.set(text);
  bytes.set(header, text.length);
  bytes.set(payload, text.length + header.length);
  return bytes;
}

const nothing = { header: new Uint8Array(), payload: new Uint8Array() };

/** Reads what {@linkcode encodeTask} wrote; `DATA_LOSS` with the key if it is something else. */
export function decodeTask(key: string, bytes: Uint8Array): TaskRecord {
  try {
    return read(bytes);
  } catch (cause) {
    throw new MillraceError(
      "DATA_LOSS",
      `the metadata at ${key} is not a broadcast; restore it from a backup`,
      { cause },
    );
  }
}

function read(bytes: Uint8Array): TaskRecord {
  const end = bytes.indexOf(10);
  const line = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, end));
  const value = asObject(JSON.parse(line));
  const base = {
    id: BigInt(asText(value.id)),
    epoch: asCount(value.epoch),
    keys: asArray(value.keys).map(asKey),
    idempotencyKey: asText(value.idempotencyKey),
    results: new Map(asArray(value.results).map(asResult)),
    control: asText(value.control),
    leftOut: asArray(value.leftOut).map(asText),
  };
  if (value.state === "done" || value.state === "aborted") {
    const { state, type, endedAt } = value;
    return { ...base, state, type: asCount(type), endedAt: asTime(endedAt) };
  }
  if (value.state !== "pending") throw new Error("it has no state");
  const { type, header, payload } = asObject(value.message);
  const payloadAt = end + 1 + asCount(header);
  if (payloadAt + asCount(payload) !== bytes.length) throw new Error("its length is wrong");
  return {
    ...base,
    state: "pending",
    message: {
      type: asCount(type),
      header: bytes.slice(end + 1, payloadAt),
      payload: bytes.slice(payloadAt),
    },
    ackWhen: value.ackWhen === "flushed" ? "flushed" : "appended",
    vchannels: asArray(value.vchannels).map(asText),
    acked: new Set(asArray(value.acked).map(asText)),
    since: asTime(value.since),
  };
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Error("not an object");
  return value as Record<string, unknown>;
}

function asArray(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new Error("not a list");
  return value;
}

function asText(value: unknown): string {
  if (typeof value !== "string") throw new Error("not a text");
  return value;
}

function asCount(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new Error("not a number");
  return value as number;
}

function asTime(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error("not a time");
  return value;
}

function asKey(value: unknown): ResourceKey {
  const { domain, key, mode } = asObject(value);
  if (mode !== "shared" && mode !== "exclusive") throw new Error("not a key");
  return { domain: asText(domain), key: asText(key), mode };
}

function asResult(value: unknown): [string, AppendResult] {
  const [vchannel, sequence, index, tick, resume] = asArray(value);
  const id = { sequence: asCount(sequence), index: asCount(index) };
  return [asText(vchannel), { id, tick: BigInt(asText(tick)), resume: asCount(resume) }];
}
