/**
 * How an object, or a value of etcd, holds an entry of a MetaStore.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { concatBytes } from "../keys.ts";

/** What is stored for a key. */
export interface MetaRecord {
  /** Different for every write: makes etags differ and tells one's own write after a lost answer. */
  nonce: Uint8Array;
  /** How long a lease holds without renewal, in milliseconds; 0: a plain entry. */
  ttlMs: number;
  value: Uint8Array;
}

const version = 1;
const nonceBytes = 16;
const headBytes = 1 + nonceBytes + 4;

/** The size in bytes of what marks a deleted key; no record is so small. */
export const tombstoneBytes: number = 1 + nonceBytes;

/** How many random bytes a nonce has. */
export const recordNonceBytes: number = nonceBytes;

/** Writes a record: version, nonce, ttl (little-endian uint32), value. */
export function encodeRecord(record: MetaRecord): Uint8Array {
  const head = new Uint8Array(headBytes);
  head[0] = version;
  head.set(record.nonce, 1);
  new DataView(head.buffer).setUint32(1 + nonceBytes, record.ttlMs, true);
  return concatBytes([head, record.value], headBytes + record.value.length);
}

/** Writes the mark of a deleted key: version and nonce. */
export function encodeTombstone(nonce: Uint8Array): Uint8Array {
  return concatBytes([Uint8Array.of(version), nonce], tombstoneBytes);
}

/** Reads a record; `undefined` for a deleted key. Throws `DATA_LOSS` on anything else. */
export function decodeRecord(key: string, bytes: Uint8Array): MetaRecord | undefined {
  if (bytes[0] !== version || bytes.length < tombstoneBytes) throw damaged(key);
  if (bytes.length === tombstoneBytes) return undefined;
  if (bytes.length < headBytes) throw damaged(key);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    nonce: bytes.slice(1, 1 + nonceBytes),
    ttlMs: view.getUint32(1 + nonceBytes, true),
    value: bytes.slice(headBytes),
  };
}

/** `true` if two records come from one write. */
export function sameNonce(a: Uint8Array, b: Uint8Array): boolean {
  const end = 1 + nonceBytes;
  return a.length >= end && a.subarray(0, end).every((byte, i) => byte === b[i]);
}

function damaged(key: string): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `what is stored for ${key} is not a record of this version`,
  );
}
