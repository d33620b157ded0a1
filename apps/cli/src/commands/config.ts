/**
 * `millrace config`.
 *
 * @module
 */

import { Command } from "commander";
import { addConfigFlags, givenByFlags, settingsOf } from "../config/flags.ts";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { SettingPath } from "../config/schema/mod.ts";
import { type ServiceName, serviceNames } from "../config/setting.ts";
import type { Io } from "../io.ts";
import { jsonFlag } from "../options.ts";
import { formatTable, write, writeJson } from "../output.ts";

/** `millrace config SERVICE`: what a service would run with, given the same file, variables and flags. */
export function configCommand(io: Io): Command {
  const command = new Command("config").description(
    "check and show the settings of a service, and where each comes from",
  );
  for (const service of serviceNames) {
    command.addCommand(showCommand(io, service), { isDefault: service === "standalone" });
  }
  return command;
}

function showCommand(io: Io, service: ServiceName): Command {
  const command = addConfigFlags(new Command(service), service)
    .description(`the settings of millrace ${service}`)
    .addOption(jsonFlag());
  return command.action(async ({ json }: { json?: boolean }) => {
    const sources = { ...givenByFlags(command, service), env: process.env };
    const loaded = await loadConfig(service, sources);
    if (json) return await writeJson(io.stdout, asJson(service, loaded));
    await write(io.stdout, asTable(service, loaded));
  });
}

function asTable(service: ServiceName, { config, origins }: LoadedConfig): string {
  const rows = settingsOf(service).map(([path, { kind, hot }]) => {
    const value: unknown = config[path as SettingPath];
    const origin = origins.get(path);
    const from = origin?.place || origin?.from || "";
    return [path, value === undefined ? "" : kind.show(value), from, hot ? "reload" : "restart"];
  });
  return formatTable(["SETTING", "VALUE", "FROM", "CHANGES BY"], rows);
}

function asJson(service: ServiceName, { config, origins }: LoadedConfig): unknown {
  const entries = settingsOf(service).map(([path, { kind, hot }]) => {
    const value: unknown = config[path as SettingPath];
    const plain = value === undefined ? null : kind.plain(value);
    return [path, { value: plain, ...origins.get(path), hot }] as const;
  });
  return Object.fromEntries(entries);
}
