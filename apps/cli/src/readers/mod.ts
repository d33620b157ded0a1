/**
 * Reading files for inserts: NDJSON, JSON arrays, CSV, TSV and Parquet, packed by gzip or not.
 *
 * @module
 */

import type { Readable } from "node:stream";
import { failure } from "../errors.ts";
import { type ByteSource, openFileSource, openStdinSource } from "./byte-source.ts";
import type { Format, Input } from "./input.ts";
import { openParquet } from "./parquet.ts";
import { createRowInput } from "./row-input.ts";

export { type BatchOptions, type Format, formats, type Input, type InputBatch } from "./input.ts";
export { atPlace } from "./row-input.ts";

/** Options of {@linkcode openInput}. */
export interface OpenInputOptions {
  /** Default: by the file's ending, else by its first bytes. */
  format?: Format | undefined;
  /** Read for the path `-`. */
  stdin: Readable;
}

/** Opens a file, or standard input for `-`. */
export async function openInput(path: string, options: OpenInputOptions): Promise<Input> {
  const { stdin } = options;
  const named = options.format ?? formatOfName(path);
  if (path !== "-" && named === "parquet" && !path.endsWith(".gz")) return await openParquet(path);
  const source = path === "-" ? await openStdinSource(stdin) : await openFileSource(path);
  const format = named ?? formatOfBytes(source);
  if (format !== "parquet") return createRowInput(source, checkFormat(format, source));
  source.close();
  if (path === "-" || path.endsWith(".gz")) {
    throw failure(
      `${source.name}: Parquet is read from its end; write it to a file that is not packed`,
    );
  }
  return await openParquet(path);
}

const endings: readonly (readonly [string, Format])[] = [
  [".ndjson", "ndjson"],
  [".jsonl", "ndjson"],
  [".csv", "csv"],
  [".tsv", "tsv"],
  [".parquet", "parquet"],
];

function formatOfName(path: string): Format | undefined {
  const name = path.toLowerCase().replace(/\.gz$/, "");
  return endings.find(([ending]) => name.endsWith(ending))?.[1];
}

/** `.json` is used for arrays and for one object a line, so the first byte decides. */
function formatOfBytes(source: ByteSource): Format {
  const head = Buffer.from(source.head);
  if (head.subarray(0, 4).toString("latin1") === "PAR1") return "parquet";
  const first = head
    .toString("utf8")
    .replace(/^\uFEFF/, "")
    .trimStart()[0];
  if (first === "[") return "json";
  if (first === "{") return "ndjson";
  if (first === undefined) throw failure(`${source.name} is empty; name its format with --format`);
  return "csv";
}

function checkFormat(
  format: Exclude<Format, "parquet">,
  source: ByteSource,
): Exclude<Format, "parquet"> {
  const isParquet = Buffer.from(source.head).subarray(0, 4).toString("latin1") === "PAR1";
  if (isParquet) {
    source.close();
    throw failure(`${source.name} is a Parquet file, not ${format}`);
  }
  return format;
}
