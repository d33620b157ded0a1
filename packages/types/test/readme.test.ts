import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const folder = fileURLToPath(new URL("..", import.meta.url));

test("the example of the README prints what it says", () => {
  const readme = readFileSync(`${folder}/README.md`, "utf8");
  const example = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? "";
  const printed = execFileSync(
    process.execPath,
    ["--conditions=source", "--input-type=module", "--eval", example],
    { cwd: folder, encoding: "utf8" },
  );
  const expected = /^\/\/ (.*)$/m.exec(example)?.[1];
  expect(printed.trim()).toBe(expected);
});
