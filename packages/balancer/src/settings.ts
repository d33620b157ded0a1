/**
 * What operators have said about placement, saved.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import { MillraceError } from "@millrace/types";

/** What is in force where operators have said nothing. */
export interface StandardSettings {
  /** Name of the policy that is wanted. */
  readonly policy: string;
  /** pchannels that are served may be moved for the sake of balance. */
  readonly allowRebalance: boolean;
}

/** What operators have said about placement. */
export interface SavedSettings extends Partial<StandardSettings> {
  /** Ids of nodes that are given nothing, sorted. */
  readonly frozen: readonly string[];
}

/** What is in force. */
export interface BalanceSettings extends StandardSettings, SavedSettings {
  readonly policy: string;
  readonly allowRebalance: boolean;
}

/** Settings that outlive their process. */
export interface SettingsStore {
  current(): BalanceSettings;
  /** Reads what is saved. `DATA_LOSS` if it is something else. */
  load(): Promise<void>;
  /**
   * Saves what `next` makes of what is saved, one call after the other. An error of `next` is passed on
   * and nothing is saved.
   */
  update(next: (saved: SavedSettings) => SavedSettings): Promise<void>;
}

const nothing: SavedSettings = { frozen: [] };

/** Settings at a key; `standard` answers what is in force for those that were not saved. */
export function createSettings(
  meta: MetaStore,
  key: string,
  standard: () => StandardSettings,
): SettingsStore {
  let saved = nothing;
  let revision: string | null = null;
  let tail: Promise<unknown> = Promise.resolve();

  const load = async (): Promise<void> => {
    const entry = await meta.get(key);
    revision = entry?.revision ?? null;
    saved = entry ? decodeSettings(key, entry.value) : nothing;
  };

  return {
    current: () => ({ ...standard(), ...saved }),
    load,
    update(next) {
      const step = async (): Promise<void> => {
        // A write before this one may have been applied although its answer was lost.
        await load();
        const settings = next(saved);
        if (settings === saved) return;
        const value = new TextEncoder().encode(JSON.stringify(settings));
        revision = await meta.put(key, value, { expected: revision });
        saved = settings;
      };
      const result = tail.then(step);
      tail = result.catch(() => undefined);
      return result;
    },
  };
}

function decodeSettings(key: string, bytes: Uint8Array): SavedSettings {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    const { policy, allowRebalance, frozen } = (value ?? {}) as Partial<SavedSettings>;
    if (
      (policy === undefined || typeof policy === "string") &&
      (allowRebalance === undefined || typeof allowRebalance === "boolean") &&
      Array.isArray(frozen) &&
      frozen.every((id) => typeof id === "string")
    ) {
      return {
        ...(policy !== undefined && { policy }),
        ...(allowRebalance !== undefined && { allowRebalance }),
        frozen,
      };
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
