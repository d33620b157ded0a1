/**
 * One call at a time tries what has failed, while the others wait: thousands of calls that retry at
 * once would keep an owner from recovering.
 *
 * @module
 */

/** Who tries what has failed. Names are any strings; a call is known by an object of its own. */
export interface Gate {
  /** Whether a call may go on: nothing has failed, or it is the one that tries. */
  isOpen(name: string, call: object): boolean;
  /** A call has failed: the first to say so is the one that tries. */
  trip(name: string, call: object): void;
  /** A call has succeeded: all may go on. */
  clear(name: string): void;
  /** A call goes on elsewhere or gives up: if it was the one that tries, all may go on. */
  leave(name: string, call: object): void;
}

/** A gate that is open. */
export function createGate(): Gate {
  const trying = new Map<string, object>();
  return {
    isOpen(name, call) {
      const holder = trying.get(name);
      return holder === undefined || holder === call;
    },
    trip(name, call) {
      if (!trying.has(name)) trying.set(name, call);
    },
    clear: (name) => trying.delete(name),
    leave(name, call) {
      if (trying.get(name) === call) trying.delete(name);
    },
  };
}
