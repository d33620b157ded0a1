/**
 * What the fault tests write: appends whose names say all about them, so that whoever reads a log can
 * tell what each message must be.
 *
 * @module
 */

import type { WalMessage } from "@millrace/wal";

/** An append as its name describes it. */
export interface NamedAppend {
  /** `GROUP/NUMBER/PARTSxSIZE`. */
  name: string;
  /** Appends of one group are made one after the other. */
  group: string;
  /** Its place in the group, from 0. */
  number: number;
  /** How many messages it has. */
  parts: number;
  /** Bytes of each payload. */
  size: number;
}

/** The name of an append. */
export function nameOf(group: string, number: number, parts: number, size: number): string {
  return `${group}/${number}/${parts}x${size}`;
}

/** Reads a name; throws if it is none. */
export function parseName(name: string): NamedAppend {
  const match = /^([^/]+)\/(\d+)\/(\d+)x(\d+)$/.exec(name);
  if (!match) throw new Error(`${JSON.stringify(name)} is not a name that the tests give`);
  const [, group = "", number, parts, size] = match;
  return { name, group, number: Number(number), parts: Number(parts), size: Number(size) };
}

const encoder = new TextEncoder();

/** The type of the messages that the tests write: one that no part of the log knows. */
export const messageType = 1001;

/** The messages of an append: the name as header, bytes that follow from name and part. */
export function messagesOf(name: string, vchannel = "v"): WalMessage[] {
  const { parts, size } = parseName(name);
  return Array.from({ length: parts }, (_, part) => ({
    type: messageType,
    vchannel,
    header: encoder.encode(name),
    payload: payloadOf(name, part, size),
  }));
}

/** The payload of one part of an append. */
export function payloadOf(name: string, part: number, size: number): Uint8Array {
  let state = 0x811c9dc5 ^ part;
  for (let i = 0; i < name.length; i++) state = Math.imul(state ^ name.charCodeAt(i), 0x01000193);
  const payload = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    payload[i] = state >>> 24;
  }
  return payload;
}

/** `true` if both have the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
