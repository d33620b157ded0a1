/**
 * All settings, by their path: the one place that says what there is.
 *
 * @module
 */

import type { Setting, StandardSetting } from "../setting.ts";
import { coordSettings } from "./coord.ts";
import { nodeSettings } from "./node.ts";
import { proxySettings, standaloneSettings } from "./proxy.ts";
import { sharedSettings } from "./shared.ts";

const settings = {
  ...standaloneSettings,
  ...coordSettings,
  ...nodeSettings,
  ...proxySettings,
  ...sharedSettings,
};

/** The path of a setting, such as `node.flush.bytes`. */
export type SettingPath = keyof typeof settings;

type ValueOf<S> =
  S extends StandardSetting<infer T> ? T : S extends Setting<infer T> ? T | undefined : never;

/** The value of each setting: sizes in bytes, durations in milliseconds. */
export type Config = { readonly [Path in SettingPath]: ValueOf<(typeof settings)[Path]> };

/** All settings, by their path. */
export const schema: ReadonlyMap<string, Setting<unknown>> = new Map(
  Object.entries<unknown>(settings) as [string, Setting<unknown>][],
);

/** What must hold between settings. */
export interface Rule {
  /** The setting that is wrong if it does not hold. */
  path: SettingPath;
  /** What is wrong, such as `must be …`, or `undefined`. */
  problem(config: Config): string | undefined;
}

/** What must hold between settings. */
export const rules: readonly Rule[] = [
  above("node.throttle.memory.rejectAt", "node.throttle.memory.slowAt"),
  above("node.throttle.memory.slowAt", "node.throttle.memory.recoverBelow"),
  atMost("node.flush.memoryBytesPerLog", "node.flush.memoryBytes"),
  atMost("proxy.maxRowBytes", "proxy.maxInsertBytes"),
  together("s3.secretAccessKey", "s3.accessKeyId"),
  together("etcd.password", "etcd.user"),
];

function above(path: SettingPath, other: SettingPath): Rule {
  const problem = `must be above ${other}`;
  return { path, problem: (all) => (Number(all[path]) > Number(all[other]) ? undefined : problem) };
}

function atMost(path: SettingPath, other: SettingPath): Rule {
  const problem = `must be at most ${other}`;
  return {
    path,
    problem: (all) => (Number(all[path]) <= Number(all[other]) ? undefined : problem),
  };
}

function together(path: SettingPath, other: SettingPath): Rule {
  const problem = `goes with ${other}; give both or none`;
  const isGiven = (all: Config, one: SettingPath): boolean => all[one] !== undefined;
  return {
    path,
    problem: (all) => (isGiven(all, path) === isGiven(all, other) ? undefined : problem),
  };
}
