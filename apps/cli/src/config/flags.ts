/**
 * The flags of a service, made from the schema.
 *
 * @module
 */

import { type Command, Option } from "commander";
import { usageError } from "../errors.ts";
import { flag } from "../options.ts";
import type { Given } from "./file.ts";
import { hint } from "./names.ts";
import { schema } from "./schema/mod.ts";
import { flagName, type ServiceName, type Setting, variableOf } from "./setting.ts";

/** What a command line gives. */
export interface GivenByFlags {
  /** Path of a file of settings. */
  file: string | undefined;
  /** By path of the setting. */
  flags: Map<string, Given>;
}

/** Adds the flags of a service: of its settings, `--config FILE` and `--set PATH=VALUE`. */
export function addConfigFlags(command: Command, service: ServiceName): Command {
  for (const [path, setting] of settingsOf(service)) {
    if (setting.flag === undefined) continue;
    const option = new Option(setting.flag, helpOf(setting));
    command.addOption(option.env(variableOf(path, setting)));
  }
  const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];
  return command
    .addOption(flag("--config <file>", "a file of settings, YAML; read anew when it changes"))
    .addOption(
      new Option(
        "--set <path=value>",
        `any other setting; see millrace config ${service}`,
      ).argParser(collect),
    );
}

/** Reads the flags of a command to which {@linkcode addConfigFlags} has added them. */
export function givenByFlags(command: Command, service: ServiceName): GivenByFlags {
  const options: Record<string, unknown> = command.opts();
  const flags = new Map<string, Given>();
  for (const [path, setting] of settingsOf(service)) {
    const name = flagName(setting);
    if (name === undefined || setting.flag === undefined) continue;
    const key = new Option(setting.flag).attributeName();
    // Variables are read with all others, so that it can be said where a value comes from.
    if (command.getOptionValueSource(key) === "cli")
      flags.set(path, { raw: options[key], place: name });
  }
  for (const text of (options.set ?? []) as readonly string[]) {
    const match = /^([^=]+)=(.*)$/s.exec(text);
    if (!match) throw usageError(`--set ${text}: give PATH=VALUE`);
    const [, path = "", raw = ""] = match;
    if (!schema.has(path)) {
      throw usageError(`--set: ${path}: there is no such setting${hint(path, schema.keys())}`);
    }
    flags.set(path, { raw, place: "--set" });
  }
  return { file: options.config as string | undefined, flags };
}

/** The settings that a service reads, by path. */
export function settingsOf(service: ServiceName): [string, Setting<unknown>][] {
  return [...schema].filter(([, { services }]) => services.includes(service));
}

/** What is in force if nothing is given, as it is shown; may be empty. */
export function showStandard({ kind, standard, unset }: Setting<unknown>): string {
  return (standard === undefined ? "" : kind.show(standard)) || unset;
}

function helpOf(setting: Setting<unknown>): string {
  const { doc } = setting;
  const standard = showStandard(setting);
  const begin = /^[A-Z][a-z]/.test(doc) ? doc.charAt(0).toLowerCase() : doc.charAt(0);
  const sentence = `${begin}${doc.slice(1).replace(/\.$/, "")}`;
  return standard === "" ? sentence : `${sentence} (default: ${standard})`;
}
