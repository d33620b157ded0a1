/**
 * Locks: which vchannels have something exclusive on its way.
 *
 * Appends are put into order one by one, so a shared lock would guard nothing. What is exclusive holds
 * back what comes after it until its effect is known; what came before it stands before it in the log.
 *
 * @module
 */

/** Exclusive appends that are on their way. The empty vchannel stands for all of them. */
export interface Locks {
  /**
   * Resolves when what holds an append back is settled; `undefined` if nothing does. What is
   * `exclusive` and of the empty vchannel is held back by any.
   */
  blocker(vchannel: string, exclusive: boolean): Promise<void> | undefined;
  /** Holds others back until the function that it answers is called. */
  hold(vchannel: string): () => void;
  /** A transaction's beginning is on its way, until the function that it answers is called. */
  begin(vchannel: string): () => void;
  /** Resolves when the beginnings that are on their way are settled; `undefined` if there are none. */
  begun(vchannel: string): Promise<unknown> | undefined;
}

/** Creates the locks of a log. */
export function createLocks(): Locks {
  const held = new Map<string, Promise<void>>();
  const beginnings = new Map<Promise<void>, string>();
  return {
    blocker(vchannel, exclusive) {
      if (held.size === 0) return undefined;
      const own = held.get("") ?? held.get(vchannel);
      if (own || !exclusive || vchannel !== "") return own;
      return held.values().next().value;
    },
    hold(vchannel) {
      const { promise, resolve } = createSignal();
      held.set(vchannel, promise);
      return () => {
        held.delete(vchannel);
        resolve();
      };
    },
    begin(vchannel) {
      const { promise, resolve } = createSignal();
      beginnings.set(promise, vchannel);
      return () => {
        beginnings.delete(promise);
        resolve();
      };
    },
    begun(vchannel) {
      if (beginnings.size === 0) return undefined;
      const own: Promise<void>[] = [];
      for (const [promise, name] of beginnings) {
        if (name === vchannel || vchannel === "") own.push(promise);
      }
      return own.length === 0 ? undefined : Promise.all(own);
    },
  };
}

function createSignal(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((onResolve) => {
    resolve = onResolve;
  });
  return { promise, resolve };
}
