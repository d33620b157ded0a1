import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFileBackend } from "../src/backends/file.node.ts";
import { openWal, type Wal } from "../src/mod.ts";
import { countingTicks, creation, text } from "./helpers.ts";

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "millrace-truncate-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function open(name: string, term: number): Promise<Wal> {
  const backend = createFileBackend({ dir: join(dir, name), segmentBytes: 4096 });
  return openWal({ backend, pchannel: "p", term, ticks: countingTicks() });
}

test("a log that was truncated opens after its owner was killed, with all that was known of it", async () => {
  const wal = await open("live", 1);
  await wal.append([creation("v")]);
  const first = await wal.append([text("x".repeat(1000))], { idempotencyKey: "k" });
  for (let i = 0; i < 20; i++) await wal.append([text("x".repeat(1000))]);
  await wal.truncate(15);
  expect(wal.bounds().first).toBeGreaterThan(1);
  await cp(join(dir, "live"), join(dir, "killed"), { recursive: true });
  await wal.close();

  const next = await open("killed", 2);
  expect(next.vchannels().has("v")).toBe(true);
  const again = await next.append([text("x".repeat(1000))], { idempotencyKey: "k" });
  expect(again).toMatchObject({ duplicate: true, id: first.id });
  await next.close();
});
