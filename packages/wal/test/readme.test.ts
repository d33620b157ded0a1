import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);

test("the queue of the README keeps jobs over restarts and does each once", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const dir = await mkdtemp(join(tmpdir(), "millrace-readme-"));
  const program = code.replace('"./queue"', JSON.stringify(dir));
  expect(program).toContain(dir);
  const flags = ["--conditions=source", "--input-type=module-typescript", "--eval", program];
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  try {
    const first = await run(process.execPath, flags, { cwd });
    expect(first.stdout).toBe("doing: send invoice 17\n");
    const second = await run(process.execPath, flags, { cwd });
    expect(second.stdout).toBe("");
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
