import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseConfigFile } from "../src/config/file.ts";
import { loadConfig } from "../src/config/load.ts";
import { refusal } from "./config-support.ts";
import { tempFolder } from "./support.ts";

const problems = (text: string): string[] => parseConfigFile("f.yaml", text).problems;
const given = (text: string): Record<string, unknown> =>
  Object.fromEntries(
    [...parseConfigFile("f.yaml", text).given].map(([path, { raw }]) => [path, raw]),
  );

test("sections, paths with dots, lists, aliases and nothing at all", () => {
  expect(given("")).toEqual({});
  expect(given("# nothing yet\nnode:\n  flush:\n")).toEqual({});
  expect(given("node: {flush: {bytes: 1MiB}}\nnode.flush.rows: 7\n")).toEqual({
    "node.flush.bytes": "1MiB",
    "node.flush.rows": "7",
  });
  expect(given("etcd.password: 007\nstore: '8'\ns3.pathStyle: true\n")).toEqual({
    "etcd.password": "007",
    store: "8",
    "s3.pathStyle": "true",
  });
  expect(given("coordinators:\n  - http://a:1\n  - http://b:2\n")).toEqual({
    coordinators: ["http://a:1", "http://b:2"],
  });
  expect(given("node: {flush: {age: &long 1h, idle: *long}}\n")).toEqual({
    "node.flush.age": "1h",
    "node.flush.idle": "1h",
  });
});

test.each([
  [
    "node:\n  flsh:\n    bytes: 1\n",
    "f.yaml:2: node.flsh: there is no such setting; did you mean node.flush?",
  ],
  ["nodes: {}\n", "f.yaml:1: nodes: there is no such setting; did you mean node?"],
  [
    "node: {wal: {max_batch_bytes: 1}}\n",
    "f.yaml:1: node.wal.max_batch_bytes: there is no such setting; did you mean node.wal.maxBatchBytes?",
  ],
  [
    "\n\nwal.maxBatchBytes: 1\n",
    "f.yaml:3: wal.maxBatchBytes: there is no such setting; did you mean node.wal.maxBatchBytes?",
  ],
  ["kafka: {brokers: []}\n", "f.yaml:1: kafka: there is no such setting"],
  ["node: 7\n", "f.yaml:1: node: has settings below it, and no value of its own"],
  ["store:\n", "f.yaml:1: store: has no value; give one, or remove the line"],
  ["node: {flush: {rows: 1}}\nnode.flush.rows: 2\n", "f.yaml:2: node.flush.rows: is given twice"],
  ["- node\n", "f.yaml:1: must be settings and sections"],
  ["just text\n", "f.yaml:1: must be settings and sections"],
  ["? [a, b]\n: 1\n", "f.yaml:1: ?: there is no such setting"],
])("%j is refused", (text, problem) => {
  expect(problems(text)).toEqual([problem]);
});

test.each([
  ["store: a\nstore: b\n", /^f\.yaml:2: .*unique/],
  ["node: {flush\n", /^f\.yaml:\d: /],
  ["store: !secret x\n", /^f\.yaml:1: .*!secret/],
  ["store: a\n---\nstore: b\n", /^f\.yaml:\d: .*document/i],
  ["store: *nowhere\n", /^f\.yaml:1: /],
  ["node: &n {flush: *n}\n", /^f\.yaml:1: /],
])("%j is no YAML that is taken", (text, problem) => {
  expect(problems(text)[0]).toMatch(problem);
});

test("a value that is impossible is told with its line", async () => {
  const file = "# settings\nnode:\n  wal:\n    maxBatchBytes: abc\n";
  expect(await refusal({ file })).toBe(
    'millrace.yaml:4: node.wal.maxBatchBytes: must be 64 KiB to 64 MiB, got "abc"',
  );
  expect(await refusal({ file: "node.flush: {bytes: {a: 1}}\n" })).toBe(
    "millrace.yaml:1: node.flush.bytes: must be 1 KiB to 4 GiB, got {}",
  );
});

test("a file that is not there, too large or no text is refused", async () => {
  const folder = await tempFolder();
  const loading = (file: string) => loadConfig("proxy", { file, env: {}, flags: new Map() });
  await expect(loading(join(folder, "none.yaml"))).rejects.toThrow(
    `cannot read ${folder}/none.yaml: no such file or folder`,
  );
  await expect(loading(folder)).rejects.toThrow(`cannot read ${folder}: it is a folder`);
  await writeFile(join(folder, "large.yaml"), "#".repeat(1024 * 1024 + 1));
  await expect(loading(join(folder, "large.yaml"))).rejects.toThrow("more than 1048576 bytes");
  await writeFile(join(folder, "bytes.yaml"), Uint8Array.of(0x73, 0xff));
  await expect(loading(join(folder, "bytes.yaml"))).rejects.toThrow("bytes.yaml is not UTF-8");
});
