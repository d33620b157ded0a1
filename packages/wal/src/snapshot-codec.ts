/**
 * The text of a WalSnapshot: JSON, a line for its head and lines for the idempotency keys, made as it is
 * written.
 *
 * @module
 */

import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { MillraceError, type Position } from "@millrace/types";
import type { KeySnapshot, TxnSnapshot, VchannelSnapshot, WalSnapshot } from "./wal.ts";

type SavedKey = [
  vchannel: string,
  key: string,
  sequence: number,
  index: number,
  tick: string,
  count: number,
];

interface Head extends Omit<WalSnapshot, "lastTick" | "vchannels" | "keys" | "txns"> {
  format: 2;
  lastTick: string;
  vchannels: SavedVchannel[];
  txns: SavedTxn[];
  keys: number;
}

interface SavedVchannel
  extends Omit<VchannelSnapshot, "created" | "id" | "tick" | "segments">,
    Position {
  created: string;
  tick: string;
  segments: (Omit<VchannelSnapshot["segments"][number], "id"> & { id: string })[];
}

interface SavedTxn extends Omit<TxnSnapshot, "txn" | "lastTick" | "keys"> {
  txn: string;
  lastTick: string;
  keys: SavedKey[];
}

/** Keys a line. */
const keysPerLine = 1000;
const encoder = new TextEncoder();

/** Encodes a snapshot, line by line. */
export function* encodeWalSnapshot(snapshot: WalSnapshot): Generator<Uint8Array> {
  const { vchannels, keys, txns, lastTick, ...rest } = snapshot;
  const head: Head = {
    format: 2,
    ...rest,
    lastTick: lastTick.toString(),
    vchannels: vchannels.map(({ created, id, tick, segments, ...vchannel }) => ({
      ...vchannel,
      ...id,
      created: base64Encode(created),
      tick: tick.toString(),
      segments: segments.map((segment) => ({ ...segment, id: segment.id.toString() })),
    })),
    txns: txns.map((txn) => ({
      ...txn,
      txn: txn.txn.toString(),
      lastTick: txn.lastTick.toString(),
      keys: txn.keys.map((key) => saveKey({ ...key, vchannel: "" })),
    })),
    keys: keys.length,
  };
  yield line(head);
  for (let start = 0; start < keys.length; start += keysPerLine) {
    yield line(keys.slice(start, start + keysPerLine).map(saveKey));
  }
}

/** Decodes a snapshot. Throws `DATA_LOSS` if it is not one, or not whole. */
export function decodeWalSnapshot(bytes: Uint8Array): WalSnapshot {
  try {
    const [first = "", ...lines] = new TextDecoder().decode(bytes).trimEnd().split("\n");
    const head = JSON.parse(first) as Head;
    if (head.format !== 2) throw new Error(`its format is ${head.format}`);
    const keys = lines.flatMap((text) => (JSON.parse(text) as SavedKey[]).map(loadKey));
    if (keys.length !== head.keys) throw new Error(`it has ${keys.length} of ${head.keys} keys`);
    return fromHead(head, keys);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError("DATA_LOSS", `the snapshot of a log cannot be read: ${reason}`, {
      cause,
    });
  }
}

function fromHead(head: Head, keys: KeySnapshot[]): WalSnapshot {
  const { sequence, checksum, mark, lastTick, vchannels, txns } = head;
  return {
    sequence,
    checksum,
    mark,
    lastTick: BigInt(lastTick),
    vchannels: vchannels.map(({ sequence: at, index, created, tick, segments, ...vchannel }) => ({
      ...vchannel,
      id: { sequence: at, index },
      created: base64Decode(created),
      tick: BigInt(tick),
      segments: segments.map((segment) => ({ ...segment, id: BigInt(segment.id) })),
    })),
    txns: txns.map((txn) => ({
      ...txn,
      txn: BigInt(txn.txn),
      lastTick: BigInt(txn.lastTick),
      keys: txn.keys.map(loadKey).map(({ key, id, firstTick, count }) => {
        return { key, id, firstTick, count };
      }),
    })),
    keys,
  };
}

function saveKey({ vchannel, key, id, firstTick, count }: KeySnapshot): SavedKey {
  return [vchannel, key, id.sequence, id.index, firstTick.toString(), count];
}

function loadKey([vchannel, key, sequence, index, tick, count]: SavedKey): KeySnapshot {
  return { vchannel, key, id: { sequence, index }, firstTick: BigInt(tick), count };
}

function line(value: unknown): Uint8Array {
  return encoder.encode(`${JSON.stringify(value)}\n`);
}
