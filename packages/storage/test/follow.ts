import type { MetaStore } from "../src/mod.ts";

/** A prefix as a watch tells of it. */
export interface Followed {
  /** Values as text. */
  readonly state: ReadonlyMap<string, string>;
  /** What was told, such as `put a=1` and `delete a`. */
  readonly told: readonly string[];
  /** Waits until the state is as wanted. Rejects if the watch does. */
  until(holds: (state: ReadonlyMap<string, string>) => boolean): Promise<void>;
  /** Ends it. Rejects if the watch did. */
  stop(): Promise<void>;
}

/** Follows a prefix in the background. */
export function follow(store: MetaStore, prefix: string): Followed {
  const stopping = new AbortController();
  const state = new Map<string, string>();
  const told: string[] = [];
  let wake: () => void = () => undefined;
  const events = store.watch(prefix, { signal: stopping.signal });
  const following = (async () => {
    for await (const event of events) {
      if (event.type === "put") {
        const text = new TextDecoder().decode(event.entry.value);
        state.set(event.entry.key, text);
        told.push(`put ${event.entry.key}=${text}`);
      } else {
        state.delete(event.key);
        told.push(`delete ${event.key}`);
      }
      wake();
    }
  })();
  // Whoever waits is told; without this a failure before that would end the process.
  following.catch(() => wake());
  return {
    state,
    told,
    async until(holds) {
      while (!holds(state)) {
        const changed = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await Promise.race([changed, following.then(() => Promise.reject(new Error("it ended")))]);
      }
    },
    async stop() {
      stopping.abort();
      await following;
    },
  };
}
