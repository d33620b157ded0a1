import { expect, test } from "vitest";
import { checkBoundaries, type Manifest, type SourceFile } from "../../scripts/boundaries.ts";

const manifests = new Map<string, Manifest>([
  [
    "packages/types",
    {
      name: "@millrace/types",
      exports: {
        ".": { source: "./src/mod.ts" },
        "./node": { source: "./src/runtime.node.ts" },
      },
    },
  ],
  [
    "packages/wal",
    {
      name: "@millrace/wal",
      dependencies: { "@millrace/types": "0.1.0" },
      exports: { ".": { source: "./src/mod.ts" } },
    },
  ],
  ["apps/node", { name: "@millrace/node", dependencies: { "@millrace/wal": "0.1.0" } }],
]);

function messagesOf(...files: SourceFile[]): string[] {
  return checkBoundaries(files, manifests).map((violation) => violation.message);
}

const file = (path: string, text: string): SourceFile => ({ path, text });

test("allows what the arrows allow", () => {
  expect(
    messagesOf(
      file("packages/wal/src/a.ts", 'import { x } from "@millrace/types";\nexport { x };\n'),
      file("apps/node/src/a.ts", 'import type { y } from "@millrace/wal";\n'),
    ),
  ).toEqual([]);
});

test("refuses an import against the arrows", () => {
  const upward = file("packages/types/src/a.ts", 'import { x } from "@millrace/wal";');
  expect(messagesOf(upward)).toContain("packages/types may not lean on packages/wal");
});

test("refuses an undeclared dependency and a path that is not exported", () => {
  const source = 'import a from "left-pad";\nimport b from "@millrace/types/src/secret.ts";\n';
  expect(messagesOf(file("packages/wal/src/a.ts", source))).toEqual([
    "left-pad is not a dependency of @millrace/wal",
    "@millrace/types/src/secret.ts is not exported by @millrace/types",
  ]);
});

test("refuses a relative import that leaves the package", () => {
  const source = 'import a from "../../types/src/mod.ts";';
  expect(messagesOf(file("packages/wal/src/a.ts", source))).toEqual([
    "../../types/src/mod.ts leaves packages/wal",
  ]);
});

test("refuses runtime-only APIs in portable code, and allows them in a runtime's file", () => {
  const source = 'import fs from "node:fs";\nexport const pid = process.pid;\n';
  expect(messagesOf(file("packages/wal/src/a.ts", source))).toEqual([
    "portable code imports node:fs",
    "portable code uses process.",
  ]);
  expect(messagesOf(file("packages/wal/src/a.node.ts", source))).toEqual([]);
});

test("refuses a runtime's file or entry imported by portable code", () => {
  const source = 'import "./b.node.ts";\nimport "@millrace/types/node";\n';
  expect(messagesOf(file("packages/wal/src/a.ts", source))).toEqual([
    "portable code imports the runtime's file ./b.node.ts",
    "portable code imports the runtime's entry @millrace/types/node",
  ]);
});

test("refuses hidden inputs, but not their mention in comments and strings", () => {
  expect(messagesOf(file("packages/wal/src/a.ts", "export const t = Date.now();"))).toEqual([
    "Date.now( is a hidden input: take a Clock or a Random",
  ]);
  const mention = '// not Date.now()\nexport const text = "Math.random()";\n';
  expect(messagesOf(file("packages/wal/src/a.ts", mention))).toEqual([]);
});

test("refuses an import cycle", () => {
  expect(
    messagesOf(
      file("packages/wal/src/a.ts", 'import "./b.ts";'),
      file("packages/wal/src/b.ts", 'import "./a.ts";'),
    ),
  ).toEqual([
    "import cycle: packages/wal/src/a.ts -> packages/wal/src/b.ts -> packages/wal/src/a.ts",
  ]);
});
