/**
 * The text of a pchannel's snapshot: a line of JSON for its head, then the snapshot of its log, made as
 * it is written.
 *
 * @module
 */

import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import type { FlusherSnapshot } from "@millrace/flusher";
import { MillraceError } from "@millrace/types";
import { decodeWalSnapshot, encodeWalSnapshot, type WalSnapshot } from "@millrace/wal";
import type { RetentionSnapshot } from "./retention.ts";

/** All that the next owner of a pchannel needs besides the log. */
export interface PchannelSnapshot {
  wal: WalSnapshot;
  flusher: FlusherSnapshot;
  retention: RetentionSnapshot;
}

interface Head {
  format: 2;
  flusher: Omit<FlusherSnapshot, "lastTick" | "vchannels"> & {
    lastTick: string;
    vchannels: { name: string; collection: string }[];
  };
  retention: RetentionSnapshot;
}

const newline = 0x0a;

/** Encodes a snapshot, line by line. */
export async function* encodeSnapshot(snapshot: PchannelSnapshot): AsyncGenerator<Uint8Array> {
  const { wal, flusher, retention } = snapshot;
  const head: Head = {
    format: 2,
    flusher: {
      ...flusher,
      lastTick: flusher.lastTick.toString(),
      vchannels: flusher.vchannels.map(({ name, collection }) => ({
        name,
        collection: base64Encode(collection),
      })),
    },
    retention,
  };
  yield new TextEncoder().encode(`${JSON.stringify(head)}\n`);
  yield* encodeWalSnapshot(wal);
}

/** Decodes a snapshot. Throws `DATA_LOSS` with its name if it is not one, or not whole. */
export function decodeSnapshot(name: string, bytes: Uint8Array): PchannelSnapshot {
  try {
    const end = bytes.indexOf(newline);
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as Head;
    if (head.format !== 2) throw new Error(`its format is ${head.format}`);
    return fromHead(head, decodeWalSnapshot(bytes.subarray(end + 1)));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError("DATA_LOSS", `the snapshot ${name} cannot be read: ${reason}`, {
      cause,
    });
  }
}

function fromHead({ flusher, retention }: Head, wal: WalSnapshot): PchannelSnapshot {
  return {
    wal,
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
