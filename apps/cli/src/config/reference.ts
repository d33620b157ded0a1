/**
 * The reference of settings, as it is in the documentation.
 *
 * @module
 */

import { showStandard } from "./flags.ts";
import { schema } from "./schema/mod.ts";
import { flagName, type Setting, serviceNames, variableOf } from "./setting.ts";

/** Tables of all settings in Markdown, one for each first part of a path. */
export function configReference(): string {
  const groups = new Map<string, string[]>();
  for (const [path, setting] of schema) {
    const [group = ""] = path.includes(".") ? path.split(".") : [""];
    const rows = groups.get(group) ?? [];
    rows.push(rowOf(path, setting));
    groups.set(group, rows);
  }
  return [...groups].map(([group, rows]) => tableOf(group, rows)).join("\n");
}

function tableOf(group: string, rows: readonly string[]): string {
  const title = group === "" ? "At the top" : `\`${group}\``;
  const head =
    "| Setting | Default | Values | Services | What it does |\n| --- | --- | --- | --- | --- |";
  return `### ${title}\n\n${head}\n${rows.join("\n")}\n`;
}

function rowOf(path: string, setting: Setting<unknown>): string {
  const { kind, services, doc, hot } = setting;
  const flag = flagName(setting);
  const names = [path, ...(flag ? [flag] : []), variableOf(path, setting)];
  const standard = showStandard(setting);
  const isValue = standard !== setting.unset;
  const cells = [
    names.map((name) => `\`${name}\``).join("<br>"),
    isValue ? `\`${standard}\`` : standard,
    kind.expects,
    services.length === serviceNames.length ? "all" : services.join(", "),
    hot ? `${doc} *Hot.*` : doc,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
