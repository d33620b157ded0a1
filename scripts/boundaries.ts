/**
 * The rules of who may lean on what, as a function of file contents, so that tests can plant faults.
 *
 * @module
 */

/** A source file: its path from the repository's root, and its text. */
export interface SourceFile {
  path: string;
  text: string;
}

/** A manifest of a workspace member. */
export interface Manifest {
  name: string;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  exports?: Record<string, { source?: string } | string>;
}

/** A broken rule and where. */
export interface Violation {
  path: string;
  line: number;
  message: string;
}

/** Which rooms each room may lean on. What is not listed is not allowed. */
const arrows: Record<string, readonly string[]> = {
  "packages/types": [],
  "packages/storage": ["packages/types"],
  "packages/rpc": ["packages/types"],
  "packages/wal": ["packages/types", "packages/storage"],
  "packages/balancer": ["packages/types", "packages/storage"],
  "packages/broadcaster": ["packages/types", "packages/storage"],
  "packages/client": ["packages/types"],
  "packages/flusher": ["packages/types", "packages/storage", "packages/wal"],
  "apps/proxy": ["packages/*"],
  "apps/coord": ["packages/*"],
  "apps/node": ["packages/*"],
  "apps/console": ["packages/*"],
  "apps/cli": ["packages/*", "apps/*"],
};

/** Files that may use a runtime's own APIs: `x.node.ts`, `main.deno.ts`, and all of the command. */
export function isRuntimeFile(path: string): boolean {
  return /\.(node|deno|bun)\.ts$/.test(path) || path.startsWith("apps/cli/");
}

const importPattern =
  /(?:^|\n)\s*(?:import|export)\s(?:[^;"']*?\sfrom\s)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/g;

const runtimeGlobals =
  /(?<![.\w"'`/-])(?:process\.|Buffer\b|Deno\.|Bun\.|__dirname\b|__filename\b|setImmediate\(|require\()/;

const hiddenInputs =
  /(?<![.\w])(?:Date\.now\(|new Date\(\)|Math\.random\(|setTimeout\(|setInterval\(|performance\.now\(|crypto\.randomUUID\(|crypto\.getRandomValues\()/;

/** Checks every file against the rules; answers what is broken, by path. */
export function checkBoundaries(
  files: readonly SourceFile[],
  manifests: ReadonlyMap<string, Manifest>,
): Violation[] {
  const violations: Violation[] = [];
  const byName = new Map([...manifests].map(([room, manifest]) => [manifest.name, room]));
  const edges = new Map<string, string[]>();
  const paths = new Set(files.map((file) => file.path));

  for (const file of files) {
    const room = roomOf(file.path);
    const manifest = manifests.get(room);
    if (!manifest) continue;
    const report = (offset: number, message: string): void => {
      const line = file.text.slice(0, offset).split("\n").length;
      violations.push({ path: file.path, line, message });
    };
    const portable = !isRuntimeFile(file.path);
    const targets: string[] = [];

    for (const match of file.text.matchAll(importPattern)) {
      const specifier = match[1] ?? match[2] ?? "";
      const offset = (match.index ?? 0) + match[0].indexOf(specifier);
      if (specifier.startsWith(".")) {
        const target = resolvePath(file.path, specifier);
        if (roomOf(target) !== room) report(offset, `${specifier} leaves ${room}`);
        if (portable && isRuntimeFile(target)) {
          report(offset, `portable code imports the runtime's file ${specifier}`);
        }
        if (paths.has(target)) targets.push(target);
        continue;
      }
      if (specifier.startsWith("node:") || specifier.startsWith("bun:")) {
        if (portable) report(offset, `portable code imports ${specifier}`);
        continue;
      }
      const name = packageName(specifier);
      const declared = { ...manifest.dependencies, ...manifest.peerDependencies };
      if (name !== manifest.name && !(name in declared)) {
        report(offset, `${name} is not a dependency of ${manifest.name}`);
      }
      const target = byName.get(name);
      if (target === undefined) continue;
      if (target !== room && !mayLeanOn(room, target)) {
        report(offset, `${room} may not lean on ${target}`);
      }
      const subpath = `.${specifier.slice(name.length)}`;
      const entry = manifests.get(target)?.exports?.[subpath];
      if (entry === undefined) report(offset, `${specifier} is not exported by ${name}`);
      else if (portable && typeof entry !== "string" && isRuntimeFile(entry.source ?? "")) {
        report(offset, `portable code imports the runtime's entry ${specifier}`);
      }
    }
    edges.set(file.path, targets);

    const code = withoutCommentsAndStrings(file.text);
    if (portable) {
      const match = runtimeGlobals.exec(code);
      if (match) report(match.index, `portable code uses ${match[0].trim()}`);
    }
    if (portable && room.startsWith("packages/")) {
      const match = hiddenInputs.exec(code);
      if (match) report(match.index, `${match[0]} is a hidden input: take a Clock or a Random`);
    }
  }
  for (const cycle of findCycles(edges)) {
    const [path = ""] = cycle;
    violations.push({ path, line: 1, message: `import cycle: ${cycle.join(" -> ")}` });
  }
  return violations.sort((a, b) => a.path.localeCompare(b.path) || a.line - b.line);
}

function roomOf(path: string): string {
  return path.split("/").slice(0, 2).join("/");
}

function mayLeanOn(room: string, target: string): boolean {
  const allowed = arrows[room] ?? [];
  return allowed.includes(target) || allowed.includes(`${target.split("/")[0]}/*`);
}

function packageName(specifier: string): string {
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? specifier);
}

function resolvePath(from: string, specifier: string): string {
  const segments = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") segments.pop();
    else if (part !== ".") segments.push(part);
  }
  return segments.join("/");
}

/** The text with comments and plain strings blanked, offsets kept. */
function withoutCommentsAndStrings(text: string): string {
  const pattern = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g;
  return text.replace(pattern, (match) => match.replace(/[^\n]/g, " "));
}

function findCycles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const visit = (node: string, trail: string[]): void => {
    const at = trail.indexOf(node);
    if (at >= 0) {
      cycles.push([...trail.slice(at), node]);
      return;
    }
    if (done.has(node)) return;
    for (const next of edges.get(node) ?? []) visit(next, [...trail, node]);
    done.add(node);
  };
  for (const node of edges.keys()) visit(node, []);
  return cycles;
}
