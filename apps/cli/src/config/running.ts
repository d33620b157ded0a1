/**
 * The configuration of a service that runs: read anew on SIGHUP, and when its file has changed.
 *
 * @module
 */

import { stat } from "node:fs/promises";
import type { Clock, Logger } from "@millrace/types";
import { describeError } from "../errors.ts";
import { settingsOf } from "./flags.ts";
import { type ConfigSources, loadConfig } from "./load.ts";
import type { Config, SettingPath } from "./schema/mod.ts";
import type { ServiceName } from "./setting.ts";

/** Options of {@linkcode runConfig}. */
export interface RunConfigOptions {
  service: ServiceName;
  sources: ConfigSources;
  /** What was read first. */
  config: Config;
  /** Calls a listener at each SIGHUP; answers what ends that. */
  onHangup: (listener: () => void) => () => void;
  clock: Clock;
  logger: Logger;
}

/** A configuration in force. */
export interface RunningConfig {
  /** What is in force now: only settings that are hot change. */
  current(): Config;
  /** Reads everything anew. If anything is wrong that is logged, and nothing changes. */
  reload(): Promise<void>;
  /** Changes nothing any more. */
  close(): Promise<void>;
}

/** How often the file is looked at, in milliseconds. */
const watchMs = 2000;

/**
 * Keeps a configuration up to date. Without a file nothing can change, so nothing is watched. A file
 * that has changed is read when it was the same for one look, so that half of one is not taken.
 */
export function runConfig(options: RunConfigOptions): RunningConfig {
  const { service, sources, clock, logger } = options;
  const { file } = sources;
  let config = options.config;
  let last: Promise<void> = Promise.resolve();

  const read = async (): Promise<void> => {
    try {
      const { config: next } = await loadConfig(service, sources);
      const { hot, cold } = changesOf(service, config, next);
      config = { ...config, ...hot };
      logger.info("configuration read anew", { file, changed: Object.keys(hot) });
      if (cold.length > 0) logger.warn("these settings need a restart", { file, settings: cold });
    } catch (error) {
      const reason = describeError(error);
      logger.error("the configuration is wrong, what was in force stays", { file, reason });
    }
  };
  const reload = (): Promise<void> => {
    last = last.then(read);
    return last;
  };

  const ends: (() => void | Promise<void>)[] = [];
  if (file !== undefined) {
    ends.push(options.onHangup(() => void reload()));
    ends.push(watchFile(file, clock, reload));
  }
  return {
    current: () => config,
    reload,
    async close() {
      for (const end of ends) await end();
      await last;
    },
  };
}

/** Calls `onChange` for each change of a file; answers what ends that. */
function watchFile(path: string, clock: Clock, onChange: () => Promise<void>): () => Promise<void> {
  let closed = false;
  let cancel = (): void => undefined;
  let seen: string | undefined;
  let taken: string | undefined;

  const look = async (): Promise<void> => {
    const now = await fingerprint(path);
    taken ??= now;
    const isSettled = now === seen;
    seen = now;
    if (isSettled && now !== taken && !closed) {
      taken = now;
      await onChange();
    }
    if (closed) return;
    cancel = clock.schedule(watchMs, () => {
      looking = look();
    });
  };
  let looking = look();

  return async () => {
    closed = true;
    cancel();
    await looking;
  };
}

/** What differs whenever a file does, also if another one has taken its place. */
async function fingerprint(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${ino} ${size} ${mtimeMs}`;
  } catch {
    return "absent";
  }
}

interface Changes {
  hot: Partial<Config>;
  /** Paths of settings that only a restart changes. */
  cold: string[];
}

/** What differs for a service. */
function changesOf(service: ServiceName, before: Config, after: Config): Changes {
  const changes: Changes = { hot: {}, cold: [] };
  for (const [path, { hot }] of settingsOf(service)) {
    const value = after[path as SettingPath];
    if (isSame(before[path as SettingPath], value)) continue;
    if (hot) changes.hot = { ...changes.hot, [path]: value };
    else changes.cold.push(path);
  }
  return changes;
}

/** Of lists, that what is in them is the same. */
function isSame(one: unknown, other: unknown): boolean {
  return one === other || (Array.isArray(one) && String(one) === String(other));
}
