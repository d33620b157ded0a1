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
}

/** Creates the locks of a log. */
export function createLocks(): Locks {
  const held = new Map<string, Promise<void>>();
  return {
    blocker(vchannel, exclusive) {
      if (held.size === 0) return undefined;
      const own = held.get("") ?? held.get(vchannel);
      if (own || !exclusive || vchannel !== "") return own;
      return held.values().next().value;
    },
    hold(vchannel) {
      let release: () => void = () => undefined;
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      held.set(vchannel, released);
      return () => {
        held.delete(vchannel);
        release();
      };
    },
  };
}
