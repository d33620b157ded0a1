/**
 * The idempotency window: which appends were made lately, by their keys.
 *
 * @module
 */

import type { Position, Tick } from "@millrace/types";
import type { KeySnapshot } from "../wal.ts";

/** Where an append stands. */
export interface AppendPlace {
  /** Of its first message. */
  id: Position;
  firstTick: Tick;
  /** Number of its messages. */
  count: number;
}

/** The newest keys, bounded in number. */
export interface KeyWindow {
  find(vchannel: string, key: string): AppendPlace | undefined;
  /** Remembers a key, and forgets the oldest one beyond the limit. */
  remember(vchannel: string, key: string, place: AppendPlace): void;
  forget(vchannel: string, key: string): void;
  /** Oldest first. */
  snapshot(): KeySnapshot[];
}

/** Creates a window of `maxKeys` keys. */
export function createKeyWindow(maxKeys: number, from: readonly KeySnapshot[] = []): KeyWindow {
  // In order of insertion, so that the first is the oldest.
  const keys = new Map<string, KeySnapshot>();
  let oldest: Iterator<string> | undefined;

  // With one iterator for good: each new one would step over all that was deleted before it.
  const forgetOldest = (): void => {
    oldest ??= keys.keys();
    const { done, value } = oldest.next();
    if (!done) keys.delete(value);
  };

  const window: KeyWindow = {
    find: (vchannel, key) => keys.get(keyName(vchannel, key)),
    remember(vchannel, key, { id, firstTick, count }) {
      if (maxKeys === 0) return;
      keys.set(keyName(vchannel, key), { vchannel, key, id, firstTick, count });
      if (keys.size > maxKeys) forgetOldest();
    },
    forget(vchannel, key) {
      keys.delete(keyName(vchannel, key));
    },
    snapshot: () => [...keys.values()],
  };
  for (const { vchannel, key, ...place } of from) window.remember(vchannel, key, place);
  return window;
}

/** One string for a vchannel and a key of it; neither has a NUL. */
export function keyName(vchannel: string, key: string): string {
  return `${vchannel}\0${key}`;
}
