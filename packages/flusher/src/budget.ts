/**
 * A budget of memory and work that the flushers of a process share.
 *
 * @module
 */

/** Options of {@linkcode createFlushBudget}. */
export interface FlushBudgetOptions {
  /** Bytes that all members together may hold. Default 192 MiB. */
  bytes?: number;
  /** How many files are encoded at a time. Default 1: on one thread more only take more memory. */
  encoders?: number;
}

/** Who takes part in a budget. */
export interface BudgetMember {
  /** Bytes that it could begin to free at once. */
  relievable(): number;
  /** Begins to free what it holds. */
  relieve(): void;
}

/** One member's part of a budget. */
export interface BudgetShare {
  /** Bytes held. */
  readonly held: number;
  /**
   * Takes bytes, at once if there is room, else when others have freed enough; the member that could
   * free the most is asked to. A member that holds nothing is always let in, so that none starves.
   */
  reserve(bytes: number, signal: AbortSignal): void | Promise<void>;
  /** Gives bytes back. */
  release(bytes: number): void;
  /**
   * Of what is held, so many bytes are freed only by reading on, and never by waiting: a member that
   * holds nothing else is let in as well.
   */
  pin(bytes: number): void;
  /** Runs a piece of heavy work when there is a turn for it. */
  encode<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** Gives everything back and ends the membership. */
  leave(): void;
}

/** Shared by the flushers of a process; made by {@linkcode createFlushBudget}. */
export interface FlushBudget {
  /** Takes part, holding at most `limit` bytes of the whole. */
  join(member: BudgetMember, limit: number): BudgetShare;
}

interface Waiter {
  ready(): boolean;
  admit(): void;
}

/** A budget of memory and work. */
export function createFlushBudget(options: FlushBudgetOptions = {}): FlushBudget {
  const { bytes: total = 192 * 1024 * 1024, encoders = 1 } = options;
  const members = new Set<BudgetMember>();
  const memory: Waiter[] = [];
  const turns: Waiter[] = [];
  let used = 0;
  let encoding = 0;

  const admitAll = (queue: Waiter[]): void => {
    for (let index = 0; index < queue.length; ) {
      const waiter = queue[index];
      if (waiter?.ready()) {
        queue.splice(index, 1);
        waiter.admit();
      } else {
        index++;
      }
    }
  };

  const relieveLargest = (): void => {
    let largest: BudgetMember | undefined;
    for (const member of members) {
      if (member.relievable() > (largest?.relievable() ?? 0)) largest = member;
    }
    largest?.relieve();
  };

  return {
    join(member, limit) {
      let held = 0;
      let pinned = 0;
      members.add(member);
      const take = (bytes: number): void => {
        held += bytes;
        used += bytes;
      };
      const release = (bytes: number): void => {
        held -= bytes;
        used -= bytes;
        admitAll(memory);
        if (memory.length > 0) relieveLargest();
      };
      return {
        get held() {
          return held;
        },
        reserve(bytes, signal) {
          const ready = (): boolean =>
            held <= pinned || (held + bytes <= limit && used + bytes <= total);
          if (ready()) return take(bytes);
          if (held + bytes > limit) member.relieve();
          else relieveLargest();
          return wait(memory, ready, () => take(bytes), signal);
        },
        release,
        pin(bytes) {
          pinned = bytes;
          admitAll(memory);
        },
        async encode(work, signal) {
          const ready = (): boolean => encoding < encoders;
          if (!ready()) await wait(turns, ready, () => encoding++, signal);
          else encoding++;
          try {
            return await work();
          } finally {
            encoding--;
            admitAll(turns);
          }
        },
        leave() {
          members.delete(member);
          release(held);
        },
      };
    },
  };
}

function wait(
  queue: Waiter[],
  ready: () => boolean,
  take: () => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      const index = queue.indexOf(waiter);
      if (index >= 0) queue.splice(index, 1);
      reject(signal.reason);
    };
    const waiter: Waiter = {
      ready,
      admit() {
        signal.removeEventListener("abort", onAbort);
        take();
        resolve();
      },
    };
    signal.addEventListener("abort", onAbort, { once: true });
    queue.push(waiter);
  });
}
