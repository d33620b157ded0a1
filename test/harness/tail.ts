/**
 * Collecting what `millrace tail` prints.
 *
 * @module
 */

import { createInterface } from "node:readline";
import { spawnMillrace } from "./process.ts";

/** The first `count` rows that a tail from the earliest position delivers, as JSON objects. */
export function tailRows(
  url: string,
  collection: string,
  count: number,
): Promise<Record<string, unknown>[]> {
  return tailUntil(url, collection, (rows) => rows.length >= count);
}

/** The rows that a tail from the earliest position delivers until there are enough. */
export async function tailUntil(
  url: string,
  collection: string,
  isEnough: (rows: readonly Record<string, unknown>[]) => boolean,
): Promise<Record<string, unknown>[]> {
  const child = spawnMillrace(["tail", collection, "--from", "earliest", "--server", url]);
  const rows: Record<string, unknown>[] = [];
  try {
    if (child.stdout === null) throw new Error("no standard output");
    for await (const line of createInterface({ input: child.stdout })) {
      rows.push(JSON.parse(line) as Record<string, unknown>);
      if (isEnough(rows)) break;
    }
  } finally {
    child.kill("SIGTERM");
  }
  return rows;
}
