/**
 * Which broadcaster a prefix belongs to, and which records under it count.
 *
 * Each broadcaster that begins has the next epoch, and its tasks bear it. One that was displaced may
 * still save a task, behind the back of its successor; so a task is acted on only when its broadcaster
 * has found itself the owner after it was saved, and a successor ignores tasks of epochs that were over
 * when its predecessor had taken everything over.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import { MillraceError, type Random } from "@millrace/types";
import { createRecordCell, sameBytes } from "./record-cell.ts";

/** The claim of one broadcaster to a prefix. */
export interface Ownership {
  /** Of this broadcaster; from 1. */
  readonly epoch: number;
  /** Tasks of lower epochs do not count: nobody has acted on them, and nobody will. */
  readonly since: number;
  /** All tasks that count bear this epoch by now. */
  settle(): Promise<void>;
  /** Throws `CHANNEL_FENCED` if another broadcaster has begun. */
  check(): Promise<void>;
}

interface Owner {
  epoch: number;
  since: number;
  /** Tells two that claim the same epoch apart. */
  nonce: string;
}

/** Claims a prefix. `PRECONDITION_FAILED` if another claims it at the same moment. */
export async function claim(meta: MetaStore, key: string, random: Random): Promise<Ownership> {
  const entry = await meta.get(key);
  const before = entry && decode(key, entry.value);
  const epoch = (before?.epoch ?? 0) + 1;
  const since = before?.since ?? epoch;
  const nonce = Array.from(random.bytes(8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const cell = createRecordCell(meta, key, entry);
  let written = encode({ epoch, since, nonce });
  await cell.write(written);

  return {
    epoch,
    since,
    async settle() {
      written = encode({ epoch, since: epoch, nonce });
      await cell.write(written);
    },
    async check() {
      const found = await meta.get(key);
      if (found && sameBytes(found.value, written)) return;
      throw new MillraceError(
        "CHANNEL_FENCED",
        `another broadcaster has taken ${key} over; this one must end`,
        { retryable: false },
      );
    },
  };
}

function encode(owner: Owner): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(owner));
}

function decode(key: string, bytes: Uint8Array): Owner {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    const { epoch, since, nonce } = value as Owner;
    if (Number.isSafeInteger(epoch) && Number.isSafeInteger(since)) return { epoch, since, nonce };
  } catch (cause) {
    throw damaged(key, cause);
  }
  throw damaged(key);
}

function damaged(key: string, cause?: unknown): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `the metadata at ${key} does not say who owns it; restore it from a backup`,
    { cause },
  );
}
