/**
 * Settings from a file, the environment and flags: what is in force, and where it comes from.
 *
 * @module
 */

import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { systemErrorOf, systemReason, usageError } from "../errors.ts";
import { type Given, parseConfigFile } from "./file.ts";
import { withoutPassword } from "./kinds.ts";
import { hint } from "./names.ts";
import { type Config, rules, schema } from "./schema/mod.ts";
import { flagName, type ServiceName, type Setting, variableOf } from "./setting.ts";

/** Where settings come from; later ones win. */
export interface ConfigSources {
  /** Path of a file. */
  file: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  /** By path of the setting. */
  flags: ReadonlyMap<string, Given>;
}

/** Where a value comes from. */
export interface Origin {
  from: "default" | "file" | "environment" | "flag";
  /** A line, a variable or a flag; empty for a default. */
  place: string;
}

/** What is in force. */
export interface LoadedConfig {
  config: Config;
  /** By path. */
  origins: ReadonlyMap<string, Origin>;
}

/** The largest file that is read, in bytes. */
const maxFileBytes = 1024 * 1024;
/** How many problems an error lists. */
const maxListed = 10;
/** How much of a value an error shows, in characters. */
const maxShown = 100;

/**
 * Reads what a service is to run with. Throws an error of usage that lists what is unknown or
 * impossible, each with its place and path, and what is missing.
 */
export async function loadConfig(
  service: ServiceName,
  { file, env, flags }: ConfigSources,
): Promise<LoadedConfig> {
  const content = file === undefined ? undefined : await readConfigFile(file);
  const problems = [...(content?.problems ?? []), ...unknownVariables(env)];
  const values: Record<string, unknown> = {};
  const origins = new Map<string, Origin>();
  for (const [path, setting] of schema) {
    values[path] = setting.standard;
    origins.set(path, { from: "default", place: "" });
    const layers = [
      ["file", content?.given.get(path)],
      ["environment", givenByVariable(variableOf(path, setting), env)],
      ["flag", flags.get(path)],
    ] as const;
    for (const [from, given] of layers) {
      if (!given) continue;
      const value = setting.kind.read(given.raw);
      if (value === undefined) problems.push(impossible(path, setting, given));
      values[path] = value;
      origins.set(path, { from, place: given.place });
    }
  }
  if (problems.length > 0) throw refusal(problems);
  const config = values as Config;
  const unmet = [...missing(service, origins), ...broken(config, origins)];
  if (unmet.length > 0) throw refusal(unmet);
  return { config, origins };
}

async function readConfigFile(path: string): ReturnType<typeof readAndParse> {
  try {
    return await readAndParse(path);
  } catch (error) {
    const system = systemErrorOf(error);
    if (!system) throw error;
    throw usageError(`cannot read ${path}: ${systemReason(system)}`);
  }
}

async function readAndParse(path: string) {
  const { size } = await stat(path);
  if (size > maxFileBytes) throw usageError(`${path} has more than ${maxFileBytes} bytes`);
  const bytes = await readFile(path);
  return parseConfigFile(basename(path), decode(path, bytes));
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw usageError(`${path} is not UTF-8`);
  }
}

/** An empty variable is none, as in most scripts and descriptions of containers. */
function givenByVariable(name: string, env: ConfigSources["env"]): Given | undefined {
  return env[name] ? { raw: env[name], place: name } : undefined;
}

/**
 * Variables that are much like one of a setting. Others are left alone: what surrounds a service has
 * variables of its own, such as those that Kubernetes makes of the names of services.
 */
function unknownVariables(env: ConfigSources["env"]): string[] {
  const known = new Set([...schema].map(([path, setting]) => variableOf(path, setting)));
  const sections = [...schema.keys()].map((path) => path.split(".", 1)[0]?.toUpperCase());
  return Object.keys(env).flatMap((name) => {
    if (known.has(name) || !sections.includes(/^MILLRACE_([^_]+)_/.exec(name)?.[1])) return [];
    if (/_(?:SERVICE_HOST|SERVICE_PORT|PORT)(?:_|$)/.test(name)) return [];
    const meant = hint(name, known);
    return meant === "" ? [] : [`${name}: there is no such setting${meant}`];
  });
}

function impossible(path: string, { kind }: Setting<unknown>, { raw, place }: Given): string {
  const problem = `${place}: ${path}: must be ${kind.expects}`;
  if (kind.secret) return problem;
  const shown = JSON.stringify(typeof raw === "string" ? withoutPassword(raw) : raw);
  return `${problem}, got ${shown.length > maxShown ? `${shown.slice(0, maxShown)}…` : shown}`;
}

function missing(service: ServiceName, origins: LoadedConfig["origins"]): string[] {
  return [...schema].flatMap(([path, setting]) => {
    if (!setting.requiredBy.includes(service)) return [];
    if (origins.get(path)?.from !== "default") return [];
    const flag = flagName(setting);
    const ways = [...(flag ? [flag] : []), variableOf(path, setting)].join(", ");
    return [`${path}: must be given, by ${ways} or a file: ${setting.kind.expects}`];
  });
}

function broken(config: Config, origins: LoadedConfig["origins"]): string[] {
  return rules.flatMap(({ path, problem }) => {
    const found = problem(config);
    if (found === undefined) return [];
    const place = origins.get(path)?.place ?? "";
    return [`${place === "" ? "" : `${place}: `}${path}: ${found}`];
  });
}

function refusal(problems: readonly string[]): Error {
  const more = problems.length - maxListed;
  const rest = more > 0 ? [`and ${more} more`] : [];
  return usageError([...problems.slice(0, maxListed), ...rest].join("; "));
}
