/**
 * Locks on resource keys, shared or exclusive, first come first served.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { keyName, type LockMode, type ResourceKey } from "./resource-keys.ts";

/** Gives locks back. Repeats change nothing. */
export type Release = () => void;

/** Options of {@linkcode createLocks}. */
export interface LocksOptions {
  /** How many acquisitions may wait at once. */
  maxWaiting: number;
}

/** Locks on resource keys. Keys are given as `lockOrder` answers them. */
export interface Locks {
  /**
   * Locks all the keys, one after the other. Who waits on a key is served before who comes later, so
   * that nobody starves. `RESOURCE_EXHAUSTED` if too many wait; the signal's reason, and no lock held,
   * if it is aborted first.
   */
  acquire(keys: readonly ResourceKey[], signal?: AbortSignal): Promise<Release>;
  /** Locks all the keys at once; `undefined`, and no lock held, if any is not free. */
  tryAcquire(keys: readonly ResourceKey[]): Release | undefined;
  /** How many acquisitions wait. */
  readonly waiting: number;
  /** Fails those that wait, and those that come. */
  close(reason: unknown): void;
}

interface Waiter {
  mode: LockMode;
  grant: () => void;
}

interface Lock {
  /** Who shares it; -1: one holds it alone. */
  holders: number;
  queue: Waiter[];
}

/**
 * Creates locks. All keys are locked in one order, so that no two acquisitions wait for each other.
 */
export function createLocks({ maxWaiting }: LocksOptions): Locks {
  const locks = new Map<string, Lock>();
  // What ends each wait early.
  const waits = new Set<(reason: unknown) => void>();
  let closed: { reason: unknown } | undefined;

  const lockOf = (key: ResourceKey): Lock => {
    const name = keyName(key);
    const known = locks.get(name);
    if (known) return known;
    const lock: Lock = { holders: 0, queue: [] };
    locks.set(name, lock);
    return lock;
  };

  const isFree = ({ holders }: Lock, mode: LockMode): boolean =>
    mode === "shared" ? holders >= 0 : holders === 0;

  const hold = (lock: Lock, mode: LockMode): void => {
    lock.holders = mode === "exclusive" ? -1 : lock.holders + 1;
  };

  const serve = (key: ResourceKey, lock: Lock): void => {
    for (let first = lock.queue[0]; first && isFree(lock, first.mode); first = lock.queue[0]) {
      lock.queue.shift();
      hold(lock, first.mode);
      first.grant();
    }
    if (lock.holders === 0 && lock.queue.length === 0) locks.delete(keyName(key));
  };

  const unlock = (key: ResourceKey): void => {
    const lock = lockOf(key);
    lock.holders = key.mode === "exclusive" ? 0 : lock.holders - 1;
    serve(key, lock);
  };

  const wait = (key: ResourceKey, lock: Lock, signal: AbortSignal | undefined): Promise<void> => {
    if (waits.size >= maxWaiting) {
      throw new MillraceError(
        "RESOURCE_EXHAUSTED",
        `${maxWaiting} broadcasts wait for others; try again later`,
        { retryAfterMs: 1000 },
      );
    }
    return new Promise((resolve, reject) => {
      const over = (): void => {
        waits.delete(giveUp);
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        mode: key.mode,
        grant() {
          over();
          resolve();
        },
      };
      const giveUp = (reason: unknown): void => {
        over();
        lock.queue.splice(lock.queue.indexOf(waiter), 1);
        // Those behind it may have waited for it alone.
        serve(key, lock);
        reject(reason);
      };
      const onAbort = (): void => giveUp(signal?.reason);
      lock.queue.push(waiter);
      waits.add(giveUp);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  };

  const releaseOf = (held: readonly ResourceKey[]): Release => {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      for (const key of held) unlock(key);
    };
  };

  return {
    async acquire(keys, signal) {
      const held: ResourceKey[] = [];
      try {
        for (const key of keys) {
          signal?.throwIfAborted();
          if (closed) throw closed.reason;
          const lock = lockOf(key);
          if (lock.queue.length === 0 && isFree(lock, key.mode)) hold(lock, key.mode);
          else await wait(key, lock, signal);
          held.push(key);
        }
      } catch (error) {
        releaseOf(held)();
        throw error;
      }
      return releaseOf(held);
    },
    tryAcquire(keys) {
      const free = keys.every((key) => {
        const lock = locks.get(keyName(key));
        return !lock || (lock.queue.length === 0 && isFree(lock, key.mode));
      });
      if (!free) return undefined;
      for (const key of keys) hold(lockOf(key), key.mode);
      return releaseOf(keys);
    },
    get waiting() {
      return waits.size;
    },
    close(reason) {
      closed = { reason };
      for (const giveUp of [...waits]) giveUp(reason);
    },
  };
}
