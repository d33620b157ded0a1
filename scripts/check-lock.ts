/**
 * Fails when an install changed what is pinned. npm adds entries for other platforms' optional
 * packages to the lock file as a registry comes to serve them, and says or does not say that a package
 * has an install script; those, and nothing else, may differ.
 */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

interface Entry {
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  hasInstallScript?: boolean;
}

interface LockFile {
  packages: Record<string, Entry>;
}

const root = new URL("..", import.meta.url).pathname;
const committed = execFileSync("git", ["show", "HEAD:package-lock.json"], { cwd: root });
const before = (JSON.parse(committed.toString()) as LockFile).packages;
const after = (JSON.parse(readFileSync(`${root}package-lock.json`, "utf8")) as LockFile).packages;

const pinned = (entry: Entry | undefined): Entry | undefined =>
  entry && { ...entry, hasInstallScript: false };
const isOtherPlatform = (path: string): boolean => {
  const entry = after[path] ?? before[path];
  return entry?.optional === true && (entry.os !== undefined || entry.cpu !== undefined);
};
const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((path) => {
  if (isDeepStrictEqual(pinned(before[path]), pinned(after[path]))) return false;
  return before[path] !== undefined && after[path] !== undefined ? true : !isOtherPlatform(path);
});

for (const path of changed) console.error(`package-lock.json: ${path || "the root"} has changed`);
console.log(`lock file: ${Object.keys(after).length} packages, ${changed.length} changed`);
process.exitCode = changed.length === 0 ? 0 : 1;
