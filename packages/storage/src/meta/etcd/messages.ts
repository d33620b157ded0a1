/**
 * What is said to etcd's JSON gateway and what it answers. Numbers are strings, bytes are base64, and
 * whatever is zero or empty is left out.
 *
 * @module
 */

import { decodeBase64, encodeBase64 } from "./base64.ts";

/** Before every answer. */
export interface ResponseHeader {
  /** Of the whole store, when it answered; grows by 1 with each write. */
  revision?: string;
}

/** A key, and its value unless only keys were asked for. */
export interface KeyValue {
  key?: string;
  value?: string;
  /** The revision at which the key came to be. */
  create_revision?: string;
  /** The revision that wrote it last. */
  mod_revision?: string;
  /** The lease that it ends with. */
  lease?: string;
}

/** Answer of `kv/range`. */
export interface RangeResponse {
  header?: ResponseHeader;
  kvs?: KeyValue[];
  /** There are more than the limit. */
  more?: boolean;
}

/** Answer of `kv/txn`. */
export interface TxnResponse {
  header?: ResponseHeader;
  succeeded?: boolean;
  responses?: { response_range?: RangeResponse }[];
}

/** Answer of `lease/grant`, and of `lease/keepalive`, where no TTL means that the lease has ended. */
export interface LeaseResponse {
  ID?: string;
  /** Seconds. */
  TTL?: string;
}

/** A piece of the answer of `watch`. */
export interface WatchResponse {
  header?: ResponseHeader;
  created?: boolean;
  canceled?: boolean;
  cancel_reason?: string;
  /** The watch began before what the store still knows; it knows all from here on. */
  compact_revision?: string;
  /** More events of the same revision follow. */
  fragment?: boolean;
  events?: WatchEvent[];
}

/** What happened to a key; no type means that it was put. */
export interface WatchEvent {
  type?: string;
  kv?: KeyValue;
}

/** From a key, up to but without another. */
export interface KeyRange {
  key: string;
  range_end: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** A key as etcd's JSON has it. */
export function encodeKey(key: string): string {
  return encodeBase64(encoder.encode(key));
}

/** The key again. Throws if it is not UTF-8. */
export function decodeKey(key: string | undefined): string {
  return decoder.decode(decodeBase64(key ?? ""));
}

/** All keys that begin with a prefix, which must not be empty. */
export function rangeOf(prefix: string): KeyRange {
  const start = encoder.encode(prefix);
  const end = start.slice();
  // UTF-8 has no byte 0xff, so the last one can always be raised.
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return { key: encodeBase64(start), range_end: encodeBase64(end) };
}

/** The rest of a range, behind a key of it. */
export function rangeAfter(range: KeyRange, last: string): KeyRange {
  const bytes = decodeBase64(last);
  const next = new Uint8Array(bytes.length + 1);
  next.set(bytes);
  return { ...range, key: encodeBase64(next) };
}
