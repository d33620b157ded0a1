/**
 * Notes: what owners tell each other in small files, a line of words each, which is written once.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { createOnce, readText } from "./files.node.ts";
import type { LogFolder } from "./segment.node.ts";

/** Writes a note, durably, unless it is there. Of those who try, exactly one gets `true`. */
export function createNote(log: LogFolder, path: string, text: string): Promise<boolean> {
  return createOnce(log.fs, path, `${text} ${checksumOf(log, text)}`);
}

/**
 * Reads a note, or `undefined` if there is none. `DATA_LOSS` if it is damaged, or if `parse`, which is
 * given its words, makes nothing of it.
 */
export async function readNote<T>(
  log: LogFolder,
  path: string,
  expected: string,
  parse: (words: readonly string[]) => T | undefined,
): Promise<T | undefined> {
  const note = await readText(log.fs, path);
  if (note === undefined) return undefined;
  const words = note.split(" ");
  const checksum = words.pop();
  const sound = checksum === checksumOf(log, words.join(" "));
  const parsed = sound ? parse(words) : undefined;
  if (parsed !== undefined) return parsed;
  throw new MillraceError("DATA_LOSS", `${path} is damaged: it holds ${JSON.stringify(note)}`, {
    expected,
  });
}

/** Reads a sequence or a term in decimal; `undefined` if it is none, or less than `least`. */
export function parseNumber(word: string | undefined, least: number): number | undefined {
  const number = /^\d{1,16}$/.test(word ?? "") ? Number(word) : Number.NaN;
  return Number.isSafeInteger(number) && number >= least ? number : undefined;
}

function checksumOf({ crc32 }: LogFolder, text: string): string {
  return crc32(new TextEncoder().encode(text)).toString(16).padStart(8, "0");
}
