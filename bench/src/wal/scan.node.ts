/**
 * Reading a log from its files, which the page cache holds.
 *
 * @module
 */

import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RecordBatch } from "@millrace/wal";
import { measureInTurn, timed } from "../measure.ts";
import type { Measurement } from "../report.ts";
import type { SuiteOptions } from "../suite.ts";
import { createBackend, createMessages, openLog, pchannel, termFolder } from "./millrace.node.ts";

const recordBytes = 1024;

/** Measures logs of large, middling and small batches, in turn with reading the files alone. */
export async function* measureScan(options: SuiteOptions): AsyncGenerator<Measurement> {
  for (const perBatch of options.quick ? [64] : [1024, 64, 4]) {
    yield* measureBatches(perBatch, options);
  }
}

async function* measureBatches(
  perBatch: number,
  { dir: parent, quick, rounds }: SuiteOptions,
): AsyncGenerator<Measurement> {
  const dir = join(parent, "scan");
  await mkdir(dir);
  const records = quick ? 10_000 : perBatch < 16 ? 100_000 : 400_000;
  await writeLog(dir, records, perBatch);
  const backend = createBackend(dir);
  const bytes = await scanAll(backend);
  const perSecond = (ms: number): number => bytes / ms / 1e6;

  const figures = await measureInTurn(
    [
      { name: "batches", run: async () => perSecond(await timed(() => scanAll(backend))) },
      { name: "messages", run: async () => perSecond(await timed(() => scanMessages(backend))) },
      { name: "raw", run: async () => perSecond(await timed(() => readFiles(dir))) },
    ],
    rounds,
  );
  await backend.close();
  await rm(dir, { recursive: true });
  const raw = { name: "raw", runs: figures.get("raw") ?? [] };
  const name = `scan ${recordBytes} B, ${perBatch} per batch`;
  const unit = "GB/s";
  yield {
    name,
    unit,
    runs: figures.get("batches") ?? [],
    target: { atLeast: 1 },
    peers: [raw],
  };
  yield { name: `${name}, each message`, unit, runs: figures.get("messages") ?? [], peers: [raw] };
}

async function writeLog(dir: string, records: number, perBatch: number): Promise<void> {
  const log = await openLog({ dir });
  const messages = createMessages(perBatch, recordBytes);
  for (let written = 0; written < records; written += perBatch) await log.commit(messages);
  await log.close();
}

type Backend = ReturnType<typeof createBackend>;

async function forEachBatch(backend: Backend, visit: (batch: RecordBatch) => void): Promise<void> {
  const reader = await backend.openReadOnly(pchannel);
  for await (const batch of reader.read(reader.bounds().first)) visit(batch);
  await reader.close();
}

async function scanAll(backend: Backend): Promise<number> {
  let bytes = 0;
  await forEachBatch(backend, (batch) => {
    bytes += batch.bytes.length;
  });
  return bytes;
}

async function scanMessages(backend: Backend): Promise<number> {
  let bytes = 0;
  await forEachBatch(backend, (batch) => {
    for (const { payload } of batch.messages()) bytes += payload.length;
  });
  return bytes;
}

/** Reads the files as fast as Node does, a mebibyte at a time, and looks at nothing. */
async function readFiles(dir: string): Promise<void> {
  const folder = termFolder(dir, 1);
  const buffer = new Uint8Array(1024 * 1024);
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".log")) continue;
    const file = await open(join(folder, name));
    while ((await file.read(buffer, 0, buffer.length)).bytesRead > 0);
    await file.close();
  }
}
