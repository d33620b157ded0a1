/**
 * Bytes of a file or of standard input, unpacked if they are gzip.
 *
 * @module
 */

import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { failure, systemErrorOf, systemReason } from "../errors.ts";

/** Bytes to read once, and how far the reading is. */
export interface ByteSource {
  /** For messages: the file as it was named, or `standard input`. */
  readonly name: string;
  /** Size of the file as it lies on disk, or `undefined` if that is not known. */
  readonly totalBytes: number | undefined;
  /** How many bytes of the file were read, before unpacking. */
  bytesRead(): number;
  /** The first bytes, unpacked: all of a short input, else at least 4. */
  readonly head: Uint8Array;
  /** All bytes, unpacked, the head included. To be called once. */
  bytes(): AsyncIterable<Uint8Array>;
  close(): void;
}

/** How many bytes are read from a file at a time. */
const chunkBytes = 256 * 1024;

/** Opens a file for reading from its beginning. */
export async function openFileSource(path: string): Promise<ByteSource> {
  const { size, isFile } = await statFile(path);
  const stream = createReadStream(path, { highWaterMark: chunkBytes });
  return await openSource(path, stream, isFile ? size : undefined, path.endsWith(".gz"));
}

/** Reads standard input. */
export async function openStdinSource(stdin: Readable): Promise<ByteSource> {
  return await openSource("standard input", stdin, undefined, false);
}

/** Size and kind of a file that can be read; a clear error otherwise. */
export async function statFile(path: string): Promise<{ size: number; isFile: boolean }> {
  try {
    await using handle = await open(path, "r");
    const stats = await handle.stat();
    if (stats.isDirectory()) throw failure(`cannot read ${path}: it is a folder`);
    return { size: stats.size, isFile: stats.isFile() };
  } catch (error) {
    throw readError(path, error);
  }
}

async function openSource(
  name: string,
  stream: Readable,
  totalBytes: number | undefined,
  named: boolean,
): Promise<ByteSource> {
  let bytesRead = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of stream) {
      bytesRead += (chunk as Uint8Array).length;
      yield chunk as Uint8Array;
    }
  }
  const packed = await peek(name, counted());
  const gzip = packed.head[0] === 0x1f && packed.head[1] === 0x8b;
  if (named && !gzip && packed.head.length > 0) {
    throw failure(`${name} is not gzip although its name ends in .gz`);
  }
  const { head, all } = gzip ? await peek(name, unpack(name, packed.all)) : packed;
  return {
    name,
    totalBytes,
    bytesRead: () => bytesRead,
    head,
    bytes: () => all,
    close: () => stream.destroy(),
  };
}

/** Reads the first bytes and gives them back in front of the rest. */
async function peek(
  name: string,
  input: AsyncIterable<Uint8Array>,
): Promise<{ head: Uint8Array; all: AsyncIterable<Uint8Array> }> {
  const iterator = input[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array(0);
  try {
    while (head.length < 4) {
      const next = await iterator.next();
      if (next.done) break;
      head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
    }
  } catch (error) {
    throw readError(name, error);
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    if (head.length > 0) yield head;
    try {
      while (true) {
        const next = await iterator.next();
        if (next.done) return;
        yield next.value;
      }
    } catch (error) {
      throw readError(name, error);
    } finally {
      await iterator.return?.();
    }
  }
  return { head, all: all() };
}

async function* unpack(
  name: string,
  packed: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: chunkBytes });
  let inputError: unknown;
  pipeline(packed, gunzip, (error) => {
    inputError = error;
  });
  try {
    for await (const chunk of gunzip) yield chunk as Uint8Array;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (!code.startsWith("Z_")) throw inputError ?? error;
    throw failure(`${name} is damaged: it is not a whole gzip file (${message(error)})`, error);
  }
}

function readError(name: string, error: unknown): unknown {
  const system = systemErrorOf(error);
  return system ? failure(`cannot read ${name}: ${systemReason(system)}`, error) : error;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
