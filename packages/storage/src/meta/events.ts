/**
 * Events for watchers that may be slower than the writers.
 *
 * @module
 */

import type { MetaEvent } from "../meta-store.ts";

/** What a watcher reads from and a store writes to. */
export interface EventQueue {
  /** Adds an event; an older one of the same key is dropped, so the queue is as long as its keys. */
  push(event: MetaEvent): void;
  /** The events as they come, until the signal is aborted. */
  read(signal: AbortSignal): AsyncGenerator<MetaEvent>;
}

/** A queue that keeps the latest event of each key. */
export function createEventQueue(): EventQueue {
  const waiting = new Map<string, MetaEvent>();
  let wake: () => void = () => undefined;
  return {
    push(event) {
      const key = event.type === "put" ? event.entry.key : event.key;
      waiting.delete(key);
      waiting.set(key, event);
      wake();
    },
    async *read(signal) {
      const onAbort = (): void => wake();
      signal.addEventListener("abort", onAbort);
      try {
        while (!signal.aborted) {
          const [first] = waiting;
          if (first !== undefined) {
            waiting.delete(first[0]);
            yield first[1];
            continue;
          }
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    },
  };
}
