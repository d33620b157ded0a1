import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { createTempFolder } from "../harness/temp.ts";
import { createLedger } from "./ledger.ts";
import { readLog } from "./read-log.ts";
import { startWriter } from "./writer.ts";

const run = promisify(execFile);

function inject(...calls: string[]): string[] {
  const trace = calls.map((call) => call.split(":")[0]).join(",");
  const faults = calls.flatMap((call) => ["-e", `inject=${call}`]);
  return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", `trace=${trace}`, ...faults];
}

/** Why system calls cannot be made to fail here, if so. */
async function whyNot(): Promise<string | undefined> {
  const [command = "", ...options] = inject("fsync:error=EIO:when=1");
  try {
    await run(command, [...options, "true"]);
    return undefined;
  } catch (error) {
    return `strace cannot be used: ${error instanceof Error ? error.message.trim() : error}`;
  }
}

const plans: [string, string[]][] = [
  ["every seventh write fails", ["pwritev:error=EIO:when=10+7"]],
  ["there is no space for every seventh write", ["pwritev:error=ENOSPC:when=10+7"]],
  ["every fifth sync of a folder fails", ["fsync:error=EIO:when=5+5"]],
  ["some renames and links fail", ["rename:error=EIO:when=3+4", "link:error=EIO:when=3+4"]],
];

test("when system calls fail under load, nothing acknowledged is lost", async ({ skip }) => {
  const reason = await whyNot();
  if (reason) skip(reason);
  await using folder = await createTempFolder("millrace-errors");
  const dir = join(folder.path, "log");
  const ledger = createLedger();
  for (const [index, [plan, calls]] of plans.entries()) {
    const writer = startWriter(join(folder.path, "cache"), inject(...calls));
    const again = ledger.unanswered();
    const term = index + 1;
    writer.begin({ dir, term, seed: term, prefix: String(term), again, truncate: 0 }, ledger);
    await writer.opened;
    await sleep(300);
    writer.stop();
    expect(await writer.ended, plan).toMatch(/^$|^(INNER|RESOURCE_EXHAUSTED): /);
    await readLog(dir, ledger);
  }
  expect(ledger.totals.acknowledged).toBeGreaterThan(0);
}, 120_000);
