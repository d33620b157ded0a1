/**
 * Saving the record of one task while it changes.
 *
 * @module
 */

import type { Clock } from "@millrace/types";
import type { RecordCell } from "./record-cell.ts";
import { encodeTask, type PendingTask, type Tombstone } from "./task-record.ts";

/** Saves the record of one task. */
export interface TaskSaver {
  /** Saves the record as it is now. Calls during a write share the next one. */
  save(): Promise<void>;
  /** Saves it within {@linkcode saveDelayMs}, unless it is saved before. */
  saveSoon(): void;
  /** Writes what is left of the task in the record's place; nothing is saved over it. */
  end(tombstone: Tombstone): Promise<void>;
  /** Ends the wait of `saveSoon`, and waits for the write under way. */
  idle(): Promise<void>;
}

/** How long progress may wait to be saved with what follows it, in milliseconds. */
export const saveDelayMs = 100;

/** Options of {@linkcode createTaskSaver}. */
export interface TaskSaverOptions {
  record: PendingTask;
  cell: RecordCell;
  /** Told why a save that nobody waits for failed. */
  onError: (error: unknown) => void;
  clock: Clock;
}

/** Creates a {@linkcode TaskSaver}. One write at a time. */
export function createTaskSaver({ record, cell, onError, clock }: TaskSaverOptions): TaskSaver {
  let writing: Promise<void> | undefined;
  let dirty = false;
  let ended = false;
  let cancelTimer: (() => void) | undefined;

  const cancel = (): void => {
    cancelTimer?.();
    cancelTimer = undefined;
  };

  const write = async (): Promise<void> => {
    dirty = false;
    try {
      await cell.write(encodeTask(record));
    } catch (error) {
      dirty = true;
      throw error;
    } finally {
      writing = undefined;
    }
  };

  const save = async (): Promise<void> => {
    cancel();
    dirty = true;
    while (dirty && !ended) {
      writing ??= write();
      await writing;
    }
  };

  const idle = async (): Promise<void> => {
    cancel();
    // Who asked for it is told how it went.
    await writing?.catch(() => undefined);
  };

  return {
    save,
    saveSoon() {
      cancelTimer ??= clock.schedule(saveDelayMs, () => {
        cancelTimer = undefined;
        save().catch(onError);
      });
    },
    async end(tombstone) {
      ended = true;
      await idle();
      await cell.write(encodeTask(tombstone));
    },
    idle,
  };
}
