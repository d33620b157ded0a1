/**
 * Taking over what earlier broadcasters have saved.
 *
 * @module
 */

import type { MetaEntry, MetaStore } from "@millrace/storage";
import { type Logger, MillraceError, type Random } from "@millrace/types";
import { claim, type Ownership } from "./ownership.ts";
import { createRecordCell, type RecordCell } from "./record-cell.ts";
import {
  decodeTask,
  encodeTask,
  type PendingTask,
  recordsPrefix,
  type TaskRecord,
  type Tombstone,
} from "./task-record.ts";

/** Options of {@linkcode takeOver}. */
export interface TakeOverOptions {
  meta: MetaStore;
  /** Of all that a broadcaster saves. */
  prefix: string;
  random: Random;
  logger: Logger;
}

/** A record and the cell in which it is. */
export interface Saved<R extends TaskRecord> {
  record: R;
  cell: RecordCell;
}

/** What was saved before. */
export interface Loaded {
  /** To be settled when the tasks are locked. */
  ownership: Ownership;
  /** Tasks that are under way, by id; nobody else can save them any more. */
  pending: Saved<PendingTask>[];
  /** Those that are over, in the order in which they ended. */
  ended: Saved<Tombstone>[];
}

/**
 * Claims a prefix and takes its tasks over, while whoever had them may still be at work on them.
 * `DATA_LOSS` with the key of a record that cannot be read.
 */
export async function takeOver(options: TakeOverOptions): Promise<Loaded> {
  const { meta, prefix, random, logger } = options;
  const ownership = await claim(meta, `${prefix}owner`, random);
  const pending: Loaded["pending"] = [];
  const ended: Loaded["ended"] = [];

  const take = async (first: MetaEntry): Promise<void> => {
    let entry: MetaEntry | undefined = first;
    while (entry) {
      const { key } = entry;
      const record = decodeTask(key, entry.value);
      const cell = createRecordCell(meta, key, entry);
      if (record.state !== "pending") {
        ended.push({ record, cell });
        return;
      }
      try {
        if (record.epoch < ownership.since) {
          logger.warn("a broadcast that was saved too late is removed", { id: record.id });
          return await cell.remove();
        }
        record.epoch = ownership.epoch;
        await cell.write(encodeTask(record));
        pending.push({ record, cell });
        return;
      } catch (error) {
        // Its former owner was faster: look at what it has made of it.
        if (!MillraceError.is(error, "PRECONDITION_FAILED")) throw error;
        entry = await meta.get(key);
      }
    }
  };

  await Promise.all((await meta.list(recordsPrefix(prefix))).map(take));
  pending.sort((a, b) => (a.record.id < b.record.id ? -1 : 1));
  ended.sort((a, b) => a.record.endedAt - b.record.endedAt);
  return { ownership, pending, ended };
}
