/**
 * Snapshots of pchannels: where they lie, and which one counts.
 *
 * @module
 */

import type { MetaEntry, MetaStore, ObjectStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";
import { decodeSnapshot, encodeSnapshot, type PchannelSnapshot } from "./snapshot-codec.ts";

/** Options of {@linkcode createSnapshots}. */
export interface SnapshotsOptions {
  store: ObjectStore;
  /** Where the pointers are kept. */
  meta: MetaStore;
}

/** The snapshots of all pchannels. */
export interface Snapshots {
  /**
   * The snapshot that counts, `undefined` if there is none. From then on no owner of a lower term can
   * save one. `CHANNEL_FENCED` if a higher term has claimed the pchannel.
   */
  claim(pchannel: string, term: number, signal: AbortSignal): Promise<PchannelSnapshot | undefined>;
  /** Writes a snapshot and makes it the one that counts. `CHANNEL_FENCED` as for `claim`. */
  save(
    pchannel: string,
    term: number,
    snapshot: PchannelSnapshot,
    signal: AbortSignal,
  ): Promise<void>;
}

interface Pointer {
  /** Of the owner that wrote it. */
  term: number;
  /** The snapshot's key; empty if there is none yet. */
  key: string;
}

/**
 * Snapshots as objects `wal/<pchannel>/snapshots/<term>-<sequence>`, and a pointer for each pchannel
 * to the one that counts. The pointer carries the term of its owner and is swapped, so that an owner
 * of old cannot put back what a new one has left behind.
 */
export function createSnapshots({ store, meta }: SnapshotsOptions): Snapshots {
  /** Swaps the pointer, and answers what it was. */
  const swap = async (
    pchannel: string,
    term: number,
    next: (previous: Pointer | undefined) => Pointer,
    signal: AbortSignal,
  ): Promise<Pointer | undefined> => {
    const key = `wal/${pchannel}`;
    for (;;) {
      const entry = await meta.get(key, { signal });
      const previous = entry && decodePointer(entry);
      if (previous && previous.term > term) throw fenced(pchannel, previous.term);
      const value = encodePointer(next(previous));
      try {
        await meta.put(key, value, { expected: entry?.revision ?? null, signal });
        return previous;
      } catch (error) {
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
      }
    }
  };

  return {
    async claim(pchannel, term, signal) {
      const keep = (previous: Pointer | undefined): Pointer => ({ term, key: previous?.key ?? "" });
      const previous = await swap(pchannel, term, keep, signal);
      if (!previous?.key) return undefined;
      const object = await store.get(previous.key, { signal });
      if (!object) {
        throw new MillraceError(
          "DATA_LOSS",
          `the snapshot ${previous.key} of ${pchannel} is gone; restore it from a backup`,
        );
      }
      return decodeSnapshot(previous.key, object.body);
    },
    async save(pchannel, term, snapshot, signal) {
      const { wal, flusher } = snapshot;
      const key = `wal/${pchannel}/snapshots/${term}-${wal.sequence}-${flusher.sequence}`;
      await store.put(key, encodeSnapshot(snapshot), { signal });
      const previous = await swap(pchannel, term, () => ({ term, key }), signal).catch(
        async (error: unknown) => {
          // Nobody will ever look at it. Other failures may have swapped all the same.
          if (MillraceError.is(error, "CHANNEL_FENCED")) await store.delete(key, { signal });
          throw error;
        },
      );
      if (previous?.key && previous.key !== key) await store.delete(previous.key, { signal });
    },
  };
}

function encodePointer(pointer: Pointer): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(pointer));
}

function decodePointer({ key, value }: MetaEntry): Pointer {
  try {
    return JSON.parse(new TextDecoder().decode(value)) as Pointer;
  } catch (cause) {
    throw new MillraceError("DATA_LOSS", `${key} does not name a snapshot`, { cause });
  }
}

function fenced(pchannel: string, term: number): MillraceError {
  return new MillraceError("CHANNEL_FENCED", `${pchannel} is owned at term ${term}`, {
    expected: String(term),
  });
}
