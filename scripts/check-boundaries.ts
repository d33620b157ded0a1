/** Fails when a package imports against the arrows or portable code uses a runtime-only API. */

import { readFileSync } from "node:fs";
import { globSync } from "node:fs";
import { checkBoundaries, type Manifest } from "./boundaries.ts";

const root = new URL("..", import.meta.url).pathname;
const read = (path: string): string => readFileSync(`${root}${path}`, "utf8");

const files = globSync("{packages,apps}/*/src/**/*.ts", { cwd: root })
  .filter((path) => !path.includes("/src/gen/"))
  .map((path) => ({ path, text: read(path) }));
const manifests = new Map<string, Manifest>(
  globSync("{packages,apps}/*/package.json", { cwd: root }).map((path) => [
    path.replace("/package.json", ""),
    JSON.parse(read(path)) as Manifest,
  ]),
);

const violations = checkBoundaries(files, manifests);
for (const { path, line, message } of violations) console.error(`${path}:${line} ${message}`);
console.log(`boundaries: ${files.length} files, ${violations.length} violations`);
process.exitCode = violations.length === 0 ? 0 : 1;
