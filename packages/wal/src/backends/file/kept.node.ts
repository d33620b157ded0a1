/**
 * What an owner keeps beside its log for the next one, with the mark at which it was kept.
 *
 * @module
 */

import { join } from "node:path";
import type { LogMark } from "../../log.ts";
import { readFile, replaceFile } from "./files.node.ts";
import { type LogFolder, termFolder } from "./segment.node.ts";
import { readFirst } from "./truncate.node.ts";

/** What was kept. */
export interface Kept {
  /** In whose folder it stands. */
  term: number;
  bytes: Uint8Array;
  /** The place of the next batch when it was kept. */
  mark: LogMark;
}

/** "MLKP" as a little-endian number. */
const magic = 0x504b4c4d;
const headBytes = 32;

/** Keeps something in the folder of its term, durably, in place of what was kept there. */
export async function writeKept(log: LogFolder, kept: Kept): Promise<void> {
  const hint = new TextEncoder().encode(kept.mark.hint);
  const head = new Uint8Array(headBytes + hint.length);
  const view = new DataView(head.buffer);
  view.setUint32(0, magic, true);
  view.setBigUint64(8, BigInt(kept.mark.sequence), true);
  view.setBigUint64(16, BigInt(kept.bytes.length), true);
  view.setUint32(24, hint.length, true);
  head.set(hint, headBytes);
  view.setUint32(4, log.crc32(kept.bytes, log.crc32(head.subarray(8))), true);
  await replaceFile(log.fs, keptPath(log, kept.term), [head, kept.bytes]);
}

/** What was kept in the folder of a term; `undefined` if nothing was, or if it is damaged. */
export async function readKept(log: LogFolder, term: number): Promise<Kept | undefined> {
  const bytes = await readFile(log.fs, keptPath(log, term));
  if (!bytes || bytes.length < headBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const start = headBytes + view.getUint32(24, true);
  const sound =
    view.getUint32(0, true) === magic &&
    bytes.length === start + Number(view.getBigUint64(16, true)) &&
    view.getUint32(4, true) === log.crc32(bytes.subarray(8));
  if (!sound) return undefined;
  return {
    term,
    bytes: bytes.subarray(start),
    mark: {
      sequence: Number(view.getBigUint64(8, true)),
      hint: new TextDecoder().decode(bytes.subarray(headBytes, start)),
    },
  };
}

/**
 * The newest of what the owners of these terms, the last one last, kept. What says more than a log up
 * to `next` holds does not count.
 */
export async function findKept(
  log: LogFolder,
  terms: readonly number[],
  next: number,
): Promise<Kept | undefined> {
  for (;;) {
    const first = await readFirst(log);
    for (const term of [...terms].reverse()) {
      const kept = await readKept(log, term);
      if (kept && kept.mark.sequence <= next) return kept;
    }
    // A former owner that still truncates may have carried it on, past where it was looked for.
    if ((await readFirst(log)).sequence === first.sequence) return undefined;
  }
}

function keptPath(log: LogFolder, term: number): string {
  return join(termFolder(log, term), "kept");
}
