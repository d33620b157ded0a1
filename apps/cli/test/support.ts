import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { columnsToRows, type JsonRow } from "@millrace/types";
import type { CollectionSchema } from "@millrace/types/gen";
import { systemClock, systemRandom } from "@millrace/types/node";
import { onTestFinished } from "vitest";
import type { TextOutput } from "../src/io.ts";
import { runProgram } from "../src/program.ts";
import { type Input, type InputBatch, openInput } from "../src/readers/mod.ts";

/** A folder that is removed after the test. */
export async function tempFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-cli-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A file in a folder of its own, removed after the test. */
export async function tempFile(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(await tempFolder(), name);
  await writeFile(path, content);
  return path;
}

/** Opens an input that is closed after the test. */
export async function open(path: string): Promise<Input> {
  const input = await openInput(path, { stdin: Readable.from([]) });
  onTestFinished(() => input.close());
  return input;
}

/** Bytes in chunks of a size, as a stream would deliver them. */
export async function* chunksOf(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** All that an iterable delivers. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

/** All batches of a file. */
export async function batchesOf(
  path: string,
  schema: CollectionSchema,
  options: { batchRows?: number; batchBytes?: number } = {},
): Promise<InputBatch[]> {
  const { batchRows = 1000, batchBytes = 1024 * 1024 } = options;
  return await collect((await open(path)).batches(schema, { batchRows, batchBytes }));
}

/** All rows of a file. */
export async function rowsOf(path: string, schema: CollectionSchema): Promise<JsonRow[]> {
  return (await batchesOf(path, schema)).flatMap((batch) => columnsToRows(batch.columns));
}

/** What a command printed, and how it ended. */
export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** Options of {@linkcode millrace}. */
export interface RunOptions {
  stdin?: string;
  signal?: AbortSignal;
  /** As in `Io`. Default: there is no SIGHUP. */
  onHangup?: (listener: () => void) => () => void;
  /** Called with all of standard output so far. */
  onStdout?: (text: string) => void;
  onStderr?: (text: string) => void;
}

/** Runs a command in this process. */
export async function millrace(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const printed = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr", listener?: (text: string) => void): TextOutput =>
    new Writable({
      write(chunk, _encoding, done) {
        printed[name] += String(chunk);
        listener?.(printed[name]);
        done();
      },
    });
  const code = await runProgram(args, {
    stdin: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
    stdout: sink("stdout", options.onStdout),
    stderr: sink("stderr", options.onStderr),
    clock: systemClock,
    random: systemRandom,
    onHangup: options.onHangup ?? (() => () => undefined),
    signal: options.signal ?? new AbortController().signal,
  });
  return { code, ...printed };
}
