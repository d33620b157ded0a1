import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));

interface Manifest {
  name: string;
  version: string;
  exports?: Record<string, { source: string } | string>;
  workspaces?: string[];
  workspace?: string[];
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

const read = (path: string): Manifest => JSON.parse(readFileSync(root + path, "utf8")) as Manifest;
const members = globSync(["{packages,apps}/*/package.json", "bench/package.json"], { cwd: root })
  .map((path) => path.replace("/package.json", ""))
  .sort();

test("npm and Deno have the same workspace, which is every folder", () => {
  expect(read("package.json").workspaces?.toSorted()).toEqual(members);
  expect(read("deno.json").workspace?.toSorted()).toEqual(members.map((member) => `./${member}`));
});

describe.each(members)("%s", (member) => {
  const npm = read(`${member}/package.json`);
  const deno = read(`${member}/deno.json`);

  test("has one version and, if it is a library, the same entries for npm and Deno", () => {
    expect(deno.version).toBe(npm.version);
    if (npm.exports === undefined) return;
    const sources = Object.entries(npm.exports).map(([path, entry]) => [
      path,
      typeof entry === "string" ? entry : entry.source,
    ]);
    expect(deno.exports).toEqual(Object.fromEntries(sources));
  });

  test("pins what it depends on", () => {
    const versions = Object.values({ ...npm.dependencies, ...npm.devDependencies });
    for (const version of versions) expect(version).toMatch(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
  });
});
