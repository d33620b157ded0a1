/**
 * A queue that pushes back.
 *
 * @module
 */

/** A queue with a limit in bytes. */
export interface Queue<T> {
  /** Adds an item; resolves when there is room for the next, or when the queue has ended. */
  push(item: T, bytes: number): Promise<void>;
  /** The next item, or `undefined` when the queue has ended and is empty; rejects if it failed. */
  take(): Promise<T | undefined>;
  isEmpty(): boolean;
  /** No more items come. What is in the queue is still taken. */
  end(): void;
  /** As `end`, but the taker gets the error after the last item. */
  fail(error: unknown): void;
}

/** A queue for many producers and one consumer. An item above the limit is taken when it is alone. */
export function createQueue<T>(maxBytes: number): Queue<T> {
  const items: { item: T; bytes: number }[] = [];
  let bytes = 0;
  let ended = false;
  let failure: { error: unknown } | undefined;
  let taker: (() => void) | undefined;
  let producers: (() => void)[] = [];

  const wakeTaker = (): void => {
    taker?.();
    taker = undefined;
  };
  const wakeProducers = (): void => {
    const waiting = producers;
    producers = [];
    for (const wake of waiting) wake();
  };
  const finish = (): void => {
    ended = true;
    wakeTaker();
    wakeProducers();
  };

  return {
    async push(item, size) {
      if (ended) return;
      items.push({ item, bytes: size });
      bytes += size;
      wakeTaker();
      while (bytes > maxBytes && !ended) {
        await new Promise<void>((resolve) => producers.push(resolve));
      }
    },
    async take() {
      for (;;) {
        const next = items.shift();
        if (next) {
          bytes -= next.bytes;
          if (bytes <= maxBytes) wakeProducers();
          return next.item;
        }
        if (failure) throw failure.error;
        if (ended) return undefined;
        await new Promise<void>((resolve) => {
          taker = resolve;
        });
      }
    },
    isEmpty: () => items.length === 0,
    end: finish,
    fail(error) {
      failure ??= { error };
      finish();
    },
  };
}
