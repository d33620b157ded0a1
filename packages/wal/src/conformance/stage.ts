/**
 * Stage: on which the actors of a random history come and go, with the history that they write.
 *
 * @module
 */

import type { HistoryEvent } from "./history.ts";

/** What the actors of a history share. */
export interface Stage {
  readonly history: readonly HistoryEvent[];
  /** Writes down what happened. */
  tell(event: HistoryEvent): void;
  /** Lets an owner act; what it throws ends the play. */
  own(owner: Promise<void>): void;
  /** Lets a reader act; what it throws ends the play. */
  read(reader: Promise<void>): void;
  /** Something went wrong that should not have, whatever is in the log. */
  fail(error: unknown): void;
  /** Owners and readers come to an end. */
  stopping(): boolean;
  /** Resolves when that many more events were told, or nobody is left to cause any. */
  progress(events: number): Promise<void>;
  /** Lets all actors come to an end; throws what went wrong. */
  finish(): Promise<void>;
}

/** Creates an empty stage. */
export function createStage(): Stage {
  const history: HistoryEvent[] = [];
  const actors: Promise<void>[] = [];
  const waiting = new Set<() => void>();
  let owners = 0;
  let stopping = false;
  let failure: { error: unknown } | undefined;

  const wake = (): void => {
    for (const look of [...waiting]) look();
  };
  const fail = (error: unknown): void => {
    failure ??= { error };
    stopping = true;
    wake();
  };

  return {
    history,
    tell(event) {
      history.push(event);
      wake();
    },
    own(owner) {
      owners++;
      const ending = owner.catch(fail).then(() => {
        owners--;
        wake();
      });
      actors.push(ending);
    },
    read(reader) {
      actors.push(reader.catch(fail));
    },
    fail,
    stopping: () => stopping,
    progress(events) {
      const enough = history.length + events;
      return new Promise((resolve) => {
        const look = (): void => {
          if (history.length < enough && owners > 0 && !stopping) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
    },
    async finish() {
      stopping = true;
      wake();
      await Promise.all(actors);
      if (failure) throw failure.error;
    },
  };
}
