/**
 * What operators have said about placement, saved.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";

/** What operators have said about placement. */
export interface BalanceSettings {
  /** Name of the policy that is wanted. */
  readonly policy: string;
  /** pchannels that are served may be moved for the sake of balance. */
  readonly allowRebalance: boolean;
  /** Ids of nodes that are given nothing, sorted. */
  readonly frozen: readonly string[];
}

/** Settings that outlive their process. */
export interface SettingsStore {
  current(): BalanceSettings;
  /** Reads what is saved. `DATA_LOSS` if it is something else. */
  load(): Promise<void>;
  /**
   * Saves what `next` makes of the settings, one call after the other. An error of `next` is passed on
   * and nothing is saved.
   */
  update(next: (settings: BalanceSettings) => BalanceSettings): Promise<void>;
}

/** Settings at a key; `initial` until others were saved. */
export function createSettings(
  meta: MetaStore,
  key: string,
  initial: BalanceSettings,
): SettingsStore {
  let current = initial;
  let revision: string | null = null;
  let tail: Promise<unknown> = Promise.resolve();

  const load = async (): Promise<void> => {
    const entry = await meta.get(key);
    revision = entry?.revision ?? null;
    current = entry ? decodeSettings(key, entry.value) : initial;
  };

  return {
    current: () => current,
    load,
    update(next) {
      const step = async (): Promise<void> => {
        // A write before this one may have been applied although its answer was lost.
        await load();
        const settings = next(current);
        if (settings === current) return;
        const value = new TextEncoder().encode(JSON.stringify(settings));
        revision = await meta.put(key, value, { expected: revision });
        current = settings;
      };
      const result = tail.then(step);
      tail = result.catch(() => undefined);
      return result;
    },
  };
}

function decodeSettings(key: string, bytes: Uint8Array): BalanceSettings {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    const { policy, allowRebalance, frozen } = (value ?? {}) as Partial<BalanceSettings>;
    if (
      typeof policy === "string" &&
      typeof allowRebalance === "boolean" &&
      Array.isArray(frozen) &&
      frozen.every((id) => typeof id === "string")
    ) {
      return { policy, allowRebalance, frozen };
    }
  } catch (cause) {
    throw damaged(key, cause);
  }
  throw damaged(key);
}

function damaged(key: string, cause?: unknown): MillraceError {
  return new MillraceError(
    "DATA_LOSS",
    `the metadata at ${key} is not the settings of a balancer; restore it from a backup`,
    { cause },
  );
}
