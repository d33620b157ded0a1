/**
 * The text of a pchannel's snapshot: JSON, a line for its head and lines for the idempotency keys,
 * made as it is written.
 *
 * @module
 */

import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import type { FlusherSnapshot } from "@millrace/flusher";
import { MillraceError } from "@millrace/types";
import type { WalSnapshot } from "@millrace/wal";
import type { RetentionSnapshot } from "./retention.ts";

/** All that the next owner of a pchannel needs besides the log. */
export interface PchannelSnapshot {
  wal: WalSnapshot;
  flusher: FlusherSnapshot;
  retention: RetentionSnapshot;
}

type SavedKey = [
  vchannel: string,
  key: string,
  sequence: number,
  index: number,
  tick: string,
  count: number,
];

interface Head {
  format: 1;
  wal: {
    sequence: number;
    lastTick: string;
    vchannels: {
      name: string;
      created: string;
      sequence: number;
      index: number;
      tick: string;
    }[];
  };
  flusher: Omit<FlusherSnapshot, "lastTick" | "vchannels"> & {
    lastTick: string;
    vchannels: { name: string; collection: string }[];
  };
  retention: RetentionSnapshot;
  keys: number;
}

/** Keys a line. */
const keysPerLine = 1000;

/** Encodes a snapshot, line by line. */
export async function* encodeSnapshot(snapshot: PchannelSnapshot): AsyncGenerator<Uint8Array> {
  const { wal, flusher, retention } = snapshot;
  const head: Head = {
    format: 1,
    wal: {
      sequence: wal.sequence,
      lastTick: wal.lastTick.toString(),
      vchannels: wal.vchannels.map(({ name, created, id, tick }) => ({
        name,
        created: base64Encode(created),
        ...id,
        tick: tick.toString(),
      })),
    },
    flusher: {
      sequence: flusher.sequence,
      lastTick: flusher.lastTick.toString(),
      tables: flusher.tables,
      vchannels: flusher.vchannels.map(({ name, collection }) => ({
        name,
        collection: base64Encode(collection),
      })),
    },
    retention,
    keys: wal.keys.length,
  };
  yield line(head);
  for (let start = 0; start < wal.keys.length; start += keysPerLine) {
    const part = wal.keys.slice(start, start + keysPerLine);
    yield line(
      part.map(
        ({ vchannel, key, id, firstTick, count }): SavedKey => [
          vchannel,
          key,
          id.sequence,
          id.index,
          firstTick.toString(),
          count,
        ],
      ),
    );
  }
}

/** Decodes a snapshot. Throws `DATA_LOSS` with its name if it is not one, or not whole. */
export function decodeSnapshot(name: string, bytes: Uint8Array): PchannelSnapshot {
  try {
    const [first = "", ...rest] = new TextDecoder().decode(bytes).trimEnd().split("\n");
    const head = JSON.parse(first) as Head;
    const keys = rest.flatMap((text) => JSON.parse(text) as SavedKey[]);
    if (head.format !== 1) throw new Error(`its format is ${head.format}`);
    if (keys.length !== head.keys) throw new Error(`it has ${keys.length} of ${head.keys} keys`);
    return fromHead(head, keys);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError("DATA_LOSS", `the snapshot ${name} cannot be read: ${reason}`, {
      cause,
    });
  }
}

function fromHead({ wal, flusher, retention }: Head, keys: SavedKey[]): PchannelSnapshot {
  return {
    wal: {
      sequence: wal.sequence,
      lastTick: BigInt(wal.lastTick),
      vchannels: wal.vchannels.map(({ name, created, sequence, index, tick }) => ({
        name,
        created: base64Decode(created),
        id: { sequence, index },
        tick: BigInt(tick),
      })),
      keys: keys.map(([vchannel, key, sequence, index, tick, count]) => ({
        vchannel,
        key,
        id: { sequence, index },
        firstTick: BigInt(tick),
        count,
      })),
    },
    flusher: {
      ...flusher,
      lastTick: BigInt(flusher.lastTick),
      vchannels: flusher.vchannels.map(({ name, collection }) => ({
        name,
        collection: base64Decode(collection),
      })),
    },
    retention,
  };
}

const textEncoder = new TextEncoder();

function line(value: unknown): Uint8Array {
  return textEncoder.encode(`${JSON.stringify(value)}\n`);
}
