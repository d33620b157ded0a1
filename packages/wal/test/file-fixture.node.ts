/** What the tests of the file backend share: a folder of logs, and batches to put into them. */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { createFileBackend, type FileBackendOptions } from "../src/backends/file.node.ts";
import { encodeBatch } from "../src/encode.ts";
import type { Log, LogOpenOptions, LogReader } from "../src/log.ts";
import type { RecordBatch } from "../src/record-batch.ts";

export const pchannel = "p";

/** A folder of one test. */
export interface FileFixture {
  readonly dir: string;
  /** Opens the log at a term; it is closed with the fixture. */
  open(term: number, options?: Partial<FileBackendOptions> & LogOpenOptions): Promise<Log>;
  openReader(options?: Partial<FileBackendOptions>): Promise<LogReader>;
  /** The batch with a sequence; those of other `kind` differ. */
  batch(term: number, sequence: number, payloadBytes?: number, kind?: number): RecordBatch;
  /** Appends batches up to a sequence. */
  fill(log: Log, end: number, payloadBytes?: number): Promise<void>;
  folder(term: number): string;
  files(term: number): Promise<string[]>;
  close(): Promise<void>;
}

/** What a fence or an end holds that says this. */
export function noteOf(text: string): string {
  return `${text} ${crc32(text).toString(16).padStart(8, "0")}`;
}

/** Creates a {@linkcode FileFixture}. */
export async function createFileFixture(): Promise<FileFixture> {
  const dir = await mkdtemp(join(tmpdir(), "millrace-log-"));
  const logs: Log[] = [];
  const checksums = new Map<number, number>();

  function batch(term: number, sequence: number, payloadBytes = 10, kind = 0): RecordBatch {
    const payload = new Uint8Array(payloadBytes).fill(sequence + 1);
    payload[0] = kind;
    const message = { type: 2, vchannel: "v", header: new Uint8Array(0), payload };
    const made = encodeBatch(
      {
        term,
        sequence,
        firstTick: BigInt(sequence + 1),
        previousChecksum: checksums.get(sequence - 1) ?? 0,
        appends: [{ messages: [message] }],
      },
      { crc32 },
    );
    checksums.set(sequence, made.checksum);
    return made;
  }

  const folder = (term: number): string =>
    join(dir, pchannel, `term-${String(term).padStart(16, "0")}`);
  return {
    dir,
    batch,
    folder,
    async open(term, { mark, ...options } = {}) {
      const log = await createFileBackend({ dir, ...options }).open(pchannel, term, { mark });
      logs.push(log);
      return log;
    },
    openReader: (options = {}) => createFileBackend({ dir, ...options }).openReadOnly(pchannel),
    async fill(log, end, payloadBytes) {
      for (let sequence = log.bounds().next; sequence < end; sequence++) {
        await log.append(batch(log.term, sequence, payloadBytes));
      }
    },
    files: async (term) => (await readdir(folder(term))).sort(),
    async close() {
      for (const log of logs) await log.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The batches of a log from a sequence on. */
export async function collect(log: LogReader, from = log.bounds().first): Promise<RecordBatch[]> {
  const batches: RecordBatch[] = [];
  for await (const batch of log.read(from)) batches.push(batch);
  return batches;
}

/** Their sequences. */
export async function sequencesOf(log: LogReader, from?: number): Promise<number[]> {
  return (await collect(log, from)).map(({ sequence }) => sequence);
}

/** The numbers from `from` to before `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
