import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { createTempFolder } from "../harness/temp.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../", import.meta.url));

test("the queue of examples/wal-only.ts does each job once, over restarts and repeats", async () => {
  await using folder = await createTempFolder();
  const queue = async (...jobs: string[]): Promise<string> => {
    const flags = ["--conditions=source", "examples/wal-only.ts", folder.path, ...jobs];
    return (await run(process.execPath, flags, { cwd: root })).stdout;
  };
  expect(await queue("a", "b", "a")).toBe("doing: a\ndoing: b\n");
  expect(await queue("b")).toBe("");
  expect(await queue("c")).toBe("doing: c\n");
});
