/**
 * What a setting is.
 *
 * @module
 */

import type { Kind } from "./kinds.ts";

/** The services, as the commands are called that run them. */
export const serviceNames = ["standalone", "coord", "node", "proxy"] as const;

/** A service. */
export type ServiceName = (typeof serviceNames)[number];

/** A setting, as data. Its path is its key in the schema. */
export interface Setting<T> {
  readonly kind: Kind<T>;
  /** What is in force if nothing is given; `undefined` if that is nothing. */
  readonly standard: T | undefined;
  /** Who reads it. */
  readonly services: readonly ServiceName[];
  /** What it does: sentences. */
  readonly doc: string;
  /** A reload changes it; else a restart does. */
  readonly hot: boolean;
  /** Its flag, as in `--listen <address>`. Any other is set with `--set`. */
  readonly flag: string | undefined;
  /** Its environment variable. Default: from its flag, else from its path. */
  readonly variable: string | undefined;
  /** Who does not run without it. */
  readonly requiredBy: readonly ServiceName[];
  /** What is in force if nothing is given and there is no `standard`; for people. */
  readonly unset: string;
}

/** What a setting may have besides. */
export interface SettingTraits {
  hot?: boolean;
  flag?: string;
  variable?: string;
  requiredBy?: readonly ServiceName[];
  unset?: string;
}

/** A setting that always has a value. */
export interface StandardSetting<T> extends Setting<T> {
  readonly standard: T;
}

/** A setting with a default. */
export function setting<T>(
  services: readonly ServiceName[],
  kind: Kind<T>,
  standard: T,
  doc: string,
  traits: SettingTraits = {},
): StandardSetting<T> {
  return { ...optional(services, kind, doc, traits), standard };
}

/** A setting that may have no value. */
export function optional<T>(
  services: readonly ServiceName[],
  kind: Kind<T>,
  doc: string,
  traits: SettingTraits = {},
): Setting<T> {
  const { hot = false, flag, variable, requiredBy = [], unset = "" } = traits;
  return {
    ...{ kind, services, doc, hot, flag, variable, requiredBy, unset },
    standard: undefined,
  };
}

/** The environment variable of a setting. */
export function variableOf(path: string, { variable, flag }: Setting<unknown>): string {
  if (variable !== undefined) return variable;
  const name = flag?.match(/^--([a-z0-9-]+)/)?.[1] ?? path.replace(/[A-Z]/g, "_$&");
  return `MILLRACE_${name.replace(/[.-]/g, "_").toUpperCase()}`;
}

/** `--listen` of a setting whose flag is `--listen <address>`. */
export function flagName({ flag }: Setting<unknown>): string | undefined {
  return flag?.match(/^--[a-z0-9-]+/)?.[0];
}
