import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { MillraceError } from "@millrace/types";
import { openWal, type Wal } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";
import { expect, test } from "vitest";
import { createTempFolder } from "../harness/temp.ts";
import { nameOf } from "./content.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { readLog } from "./read-log.ts";
import { writeNamed } from "./write-named.ts";

const run = promisify(execFile);
const diskBytes = 8 * 1024 * 1024;

/** A small disk in memory; why not, if it cannot be mounted. */
async function mountDisk(path: string): Promise<AsyncDisposable | string> {
  try {
    await run("mount", ["-t", "tmpfs", "-o", `size=${diskBytes}`, "tmpfs", path]);
  } catch (error) {
    return `a tmpfs cannot be mounted: ${error instanceof Error ? error.message.trim() : error}`;
  }
  return {
    async [Symbol.asyncDispose]() {
      // Lazily: a test that failed may not have closed its files.
      await run("umount", ["--lazy", path]);
    },
  };
}

function open(dir: string, term: number): Promise<Wal> {
  return openWal({
    backend: createFileBackend({ dir, segmentBytes: 1024 * 1024 }),
    pchannel: "p",
    term,
    vchannels: "any",
    ticks: { take: (count, after = 0n) => ({ first: after + 1n, count }) },
  });
}

async function write(wal: Wal, ledger: Ledger, size: number): Promise<void> {
  const [name = nameOf("g", ledger.nextNumber("g"), 1, size)] = ledger.unanswered();
  ledger.submit(name);
  try {
    const { id, duplicate } = await writeNamed(wal, name);
    ledger.acknowledge(name, id, duplicate);
  } catch (error) {
    if (MillraceError.is(error) && !error.maybeApplied) ledger.withdraw(name);
    throw error;
  }
}

test("on a disk that is full, appends are refused and reads go on, until there is space", async ({
  skip,
}) => {
  await using folder = await createTempFolder("millrace-full");
  await using disk = await mountDisk(folder.path).then((mounted) =>
    typeof mounted === "string" ? skip(mounted) : mounted,
  );
  expect(disk).toBeDefined();
  const dir = join(folder.path, "logs");
  const ballast = ["one", "two"].map((name) => join(folder.path, name));
  for (const path of ballast) await writeFile(path, randomBytes(diskBytes / 8));
  const ledger = createLedger();
  const wal = await open(dir, 1);
  const fill = async (): Promise<number> => {
    for (let written = 0; ; written++) {
      try {
        await write(wal, ledger, 100_000);
      } catch (error) {
        expect(error).toMatchObject({ code: "RESOURCE_EXHAUSTED", retryable: true });
        return written;
      }
    }
  };
  expect(await fill()).toBeGreaterThan(20);
  await readLog(dir, ledger);
  await expect(write(wal, ledger, 100_000)).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  await rm(ballast[0] ?? "");
  expect(await fill()).toBeGreaterThan(5);
  await readLog(dir, ledger);
  // Truncation writes down what it forgets before it frees anything.
  const truncated = await wal.truncate(ledger.next - 5).catch((error) => error);
  if (truncated) expect(truncated).toMatchObject({ code: "RESOURCE_EXHAUSTED" });
  await rm(ballast[1] ?? "");
  await wal.truncate(ledger.next - 5);
  for (let i = 0; i < 20; i++) await write(wal, ledger, 100_000);
  await readLog(dir, ledger);
  await wal.close();
  const again = await open(dir, 2);
  await write(again, ledger, 100_000);
  await readLog(dir, ledger);
  await again.close();
});
