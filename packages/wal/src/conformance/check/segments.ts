/**
 * Whether each insert has a segment with room for it, as readers of the log find it.
 *
 * @module
 */

import { createSegment, insert, manualFlush } from "../../append/message-types.ts";
import type { HistoryEvent, SeenBatch } from "../history.ts";

/**
 * Says which inserts of one row stand where no segment of `rows` rows was begun for them, or where it is
 * full. All must be of one partition of their vchannel. What is before the first segment of a vchannel
 * that is known is left out, where the log was truncated.
 */
export function checkSegments(history: readonly HistoryEvent[], rows: number): string[] {
  const batches = new Map<number, SeenBatch>();
  for (const event of history) {
    if (event.kind === "batch") batches.set(event.batch.sequence, event.batch);
  }
  const problems: string[] = [];
  const growing = new Map<string, number>();
  const sequences = [...batches.keys()].sort((a, b) => a - b);
  const isWhole = sequences[0] === 0;
  for (const sequence of sequences) {
    for (const { type, vchannel, name } of batches.get(sequence)?.messages ?? []) {
      const place = `message ${name} in batch ${sequence}`;
      if (type === createSegment) growing.set(vchannel, 0);
      else if (type === manualFlush) growing.set(vchannel, rows);
      else if (type === insert) {
        const used = growing.get(vchannel);
        if (used === undefined && isWhole) problems.push(`${place} has no segment`);
        if (used === undefined) continue;
        if (used >= rows) problems.push(`${place} stands where the segment is full or sealed`);
        growing.set(vchannel, used + 1);
      }
    }
  }
  return problems;
}
