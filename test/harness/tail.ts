/**
 * Collecting what `millrace tail` prints.
 *
 * @module
 */

import { createInterface } from "node:readline";
import { spawnMillrace } from "./process.ts";

/** The first `count` rows that a tail from the earliest position delivers, as JSON objects. */
export async function tailRows(
  url: string,
  collection: string,
  count: number,
): Promise<Record<string, unknown>[]> {
  const child = spawnMillrace(["tail", collection, "--from", "earliest", "--server", url]);
  const rows: Record<string, unknown>[] = [];
  try {
    if (child.stdout === null) throw new Error("no standard output");
    for await (const line of createInterface({ input: child.stdout })) {
      rows.push(JSON.parse(line) as Record<string, unknown>);
      if (rows.length >= count) break;
    }
  } finally {
    child.kill("SIGTERM");
  }
  return rows;
}
