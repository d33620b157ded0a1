import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFileBackend } from "../src/backends/file.node.ts";
import { openWal } from "../src/mod.ts";
import { countingTicks, readTexts } from "./helpers.ts";

const script = fileURLToPath(new URL("./durable-writer.node.ts", import.meta.url));
let dir: string;
let children: ChildProcess[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "millrace-kill-"));
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await rm(dir, { recursive: true, force: true });
});

interface Writer {
  acknowledged: string[];
  /** Resolves when this many appends are acknowledged. */
  reached(count: number): Promise<void>;
  kill(): Promise<void>;
  exited: Promise<number | null>;
}

function startWriter(term: number): Writer {
  const child = spawn(process.execPath, ["--conditions=source", script, dir, String(term)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const acknowledged: string[] = [];
  const exited = once(child, "close").then(([code]) => code as number | null);
  const waiting: { count: number; resolve: () => void }[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    acknowledged.push(line);
    for (const { count, resolve } of waiting) if (acknowledged.length >= count) resolve();
  });
  return {
    acknowledged,
    exited,
    reached(count) {
      return Promise.race([
        new Promise<void>((resolve) => waiting.push({ count, resolve })),
        exited.then((code) => Promise.reject(new Error(`the writer ended with ${code}`))),
      ]);
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** What the log holds, opened at a term: the names that the writers gave their messages. */
async function readNames(term: number): Promise<string[]> {
  const backend = createFileBackend({ dir, segmentBytes: 64 * 1024 });
  const ticks = countingTicks();
  const wal = await openWal({ backend, pchannel: "p", term, ticks, vchannels: "any" });
  let count = 0;
  for await (const batch of (await backend.openReadOnly("p")).read(0)) count += batch.count;
  const signal = new AbortController().signal;
  const texts = await readTexts(wal.scan({ from: "earliest", signal }), count);
  await wal.close();
  return texts.map((name) => name.replace(/\.+$/, ""));
}

function expectKept(acknowledged: readonly string[], names: readonly string[]): void {
  const kept = new Set(names);
  expect(kept.size).toBe(names.length);
  expect(acknowledged.filter((name) => !kept.has(name))).toEqual([]);
  // Each writer waited for one append before it made the next.
  const last = new Map<string, number>();
  for (const name of names) {
    const [term = "", writer = "", number = ""] = name.split("/");
    const previous = last.get(`${term}/${writer}`) ?? -1;
    expect(Number(number)).toBe(previous + 1);
    last.set(`${term}/${writer}`, Number(number));
  }
}

test("what was acknowledged before a kill -9 is there afterwards, once and in order", async () => {
  const acknowledged: string[] = [];
  for (let cycle = 0; cycle < 4; cycle++) {
    const writer = startWriter(1 + 2 * cycle);
    await writer.reached(200 + 331 * cycle);
    await writer.kill();
    acknowledged.push(...writer.acknowledged);
    expectKept(acknowledged, await readNames(2 + 2 * cycle));
  }
});

test("a process that is followed by another stops, and nothing it acknowledged is lost", async () => {
  const first = startWriter(1);
  await first.reached(300);
  const second = startWriter(2);
  expect(await first.exited).toBe(3);
  await second.reached(300);
  await second.kill();
  expectKept([...first.acknowledged, ...second.acknowledged], await readNames(3));
});
