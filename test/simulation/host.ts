/**
 * A process of a simulation: it can stand still and go on, as by SIGSTOP and SIGCONT, end, and have a wall
 * clock of its own.
 *
 * @module
 */

import type { Transport } from "@connectrpc/connect";
import type { ObjectStore } from "@millrace/storage";
import { type Clock, delay, MillraceError, type Random } from "@millrace/types";

/** A process of a simulation. */
export interface Host {
  /** Its timers do not fire while it stands still; all that came due fire when it goes on. */
  clock: Clock;
  /** Resolves while the process runs; never again once it has ended. */
  gate(): Promise<void>;
  pause(): void;
  /** Stands still right before the write to a store that follows so many others. */
  pauseBeforeWrite(writes: number): void;
  /** What has waited meanwhile, timers and answers and calls, goes on in any order. */
  resume(): void;
  /** Ends it: nothing of it has an effect any more, and whoever calls it is refused. */
  kill(): void;
  /** Moves its wall clock alone. */
  jump(ms: number): void;
  /** How others call it. */
  reachedBy(transport: Transport): Transport;
  /** How it calls others. */
  calling(transport: Transport): Transport;
  /** What it sees of a store. */
  using(store: ObjectStore): ObjectStore;
  readonly state: "running" | "paused" | "ended";
}

const refused = new MillraceError("UNAVAILABLE", "connection refused");
const broken = new MillraceError("UNAVAILABLE", "connection reset", { maybeApplied: true });

/** How long an operation of a store takes at most, in milliseconds. */
const storeMs = 10;

/** Starts a process on the time of a simulation. */
export function createHost(base: Clock, random: Random): Host {
  let state: Host["state"] = "running";
  let offset = 0;
  let waiting: (() => void)[] = [];
  let writesLeft = Number.POSITIVE_INFINITY;
  const ended = new AbortController();

  const gate = (): Promise<void> => {
    if (state === "running") return Promise.resolve();
    return new Promise((resolve) => {
      // What waits in a process that has ended waits for ever.
      if (state === "paused") waiting.push(resolve);
    });
  };

  /** One after the other, as an event loop does it. */
  const goOn = async (all: (() => void)[]): Promise<void> => {
    while (all.length > 0) {
      all.splice(Math.floor(random.next() * all.length), 1)[0]?.();
      for (let turn = 0; turn < 50; turn++) await undefined;
    }
  };

  /** What a caller hears: an error when the process ends, nothing while it stands still. */
  const heard = <T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const onEnd = (): void => reject(broken);
      const onAbort = (): void => reject(signal?.reason);
      ended.signal.addEventListener("abort", onEnd, { once: true });
      signal?.addEventListener("abort", onAbort, { once: true });
      const over = (): void => {
        ended.signal.removeEventListener("abort", onEnd);
        signal?.removeEventListener("abort", onAbort);
      };
      if (ended.signal.aborted) reject(refused);
      else if (signal?.aborted) onAbort();
      else {
        gate().then(work).finally(gate).then(resolve, reject).finally(over);
      }
    });

  async function* heardEach<T>(
    source: AsyncIterable<T>,
    signal: AbortSignal | undefined,
  ): AsyncIterable<T> {
    const iterator = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await heard(() => iterator.next(), signal);
        if (next.done) return;
        yield next.value;
      }
    } finally {
      iterator.return?.()?.catch(() => undefined);
    }
  }

  const host: Host = {
    clock: {
      now: () => base.now() + offset,
      monotonic: () => base.monotonic(),
      schedule(ms, callback) {
        let cancelled = false;
        const cancel = base.schedule(ms, () => {
          void gate().then(() => cancelled || callback());
        });
        return () => {
          cancelled = true;
          cancel();
        };
      },
    },
    gate,
    pause() {
      if (state === "running") state = "paused";
    },
    pauseBeforeWrite(writes) {
      writesLeft = writes;
    },
    resume() {
      writesLeft = Number.POSITIVE_INFINITY;
      if (state !== "paused") return;
      state = "running";
      const all = waiting;
      waiting = [];
      void goOn(all);
    },
    kill() {
      state = "ended";
      waiting = [];
      ended.abort();
    },
    jump(ms) {
      offset += ms;
    },
    reachedBy: (transport) => ({
      unary: (method, signal, ...rest) =>
        heard(() => transport.unary(method, signal, ...rest), signal),
      async stream(method, signal, ...rest) {
        const response = await heard(() => transport.stream(method, signal, ...rest), signal);
        return { ...response, message: heardEach(response.message, signal) };
      },
    }),
    calling: (transport) => ({
      async unary(...call) {
        await gate();
        return await transport.unary(...call).finally(gate);
      },
      async stream(...call) {
        await gate();
        return await transport.stream(...call).finally(gate);
      },
    }),
    using(store) {
      const through =
        <A extends unknown[], T>(operation: (...args: A) => Promise<T>) =>
        async (...args: A): Promise<T> => {
          await gate();
          await delay(base, random.next() * storeMs);
          return await operation(...args).finally(gate);
        };
      const write = (): void => {
        writesLeft -= 1;
        if (writesLeft < 0) host.pause();
      };
      return {
        name: store.name,
        get: through((...args: Parameters<ObjectStore["get"]>) => store.get(...args)),
        head: through((...args: Parameters<ObjectStore["head"]>) => store.head(...args)),
        async put(...args) {
          write();
          await gate();
          await delay(base, random.next() * storeMs);
          return await store.put(...args).finally(gate);
        },
        delete: through((...args: Parameters<ObjectStore["delete"]>) => store.delete(...args)),
        async *list(options) {
          await gate();
          for await (const info of store.list(options)) yield info;
          await gate();
        },
        close: () => Promise.resolve(),
      };
    },
    get state() {
      return state;
    },
  };
  return host;
}
