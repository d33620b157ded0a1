/**
 * Text formats as an input: rows, fitted to a schema on this side.
 *
 * @module
 */

import { MillraceError, rowsToColumns } from "@millrace/types";
import type { CollectionSchema } from "@millrace/types/gen";
import { failure } from "../errors.ts";
import { buildSchema, inferenceRows, inferFields } from "../infer.ts";
import type { ByteSource } from "./byte-source.ts";
import { readCsv } from "./csv.ts";
import { fitCells } from "./csv-cells.ts";
import type { BatchOptions, Format, Input, InputBatch } from "./input.ts";
import { fitValues } from "./json.ts";
import { readJsonArray } from "./json-array.ts";
import { readNdjson } from "./ndjson.ts";
import { emptyChunk, type RowChunk } from "./rows.ts";

/** How much text of a file is held for inference at most, in characters. */
const inferenceLength = 16 * 1024 * 1024;

/** An input of rows of text. */
export function createRowInput(source: ByteSource, format: Exclude<Format, "parquet">): Input {
  const { name } = source;
  const chunks = readChunks(source, format)[Symbol.asyncIterator]();
  const peeked: RowChunk[] = [];
  const isText = format === "csv" || format === "tsv";

  async function* allChunks(): AsyncGenerator<RowChunk> {
    yield* peeked;
    while (true) {
      const next = await chunks.next();
      if (next.done) return;
      yield next.value;
    }
  }

  return {
    name,
    format,
    totalBytes: source.totalBytes,
    bytesRead: source.bytesRead,
    async inferSchema(key) {
      let length = 0;
      let count = 0;
      while (count < inferenceRows && length < inferenceLength) {
        const next = await chunks.next();
        if (next.done) break;
        peeked.push(next.value);
        count += next.value.rows.length;
        for (const size of next.value.sizes) length += size;
      }
      if (count === 0) throw failure(`${name} has no rows to infer a schema from`);
      const rows = peeked.flatMap((chunk) => chunk.rows).slice(0, inferenceRows);
      return buildSchema(inferFields(rows, isText ? "text" : "json"), { name, key });
    },
    async *batches(schema, options) {
      let firstRow = 0;
      for await (const chunk of rebatch(allChunks(), options)) {
        yield toBatch(chunk, { schema, name, firstRow, isText });
        firstRow += chunk.rows.length;
      }
    },
    async close() {
      await chunks.return?.(undefined);
      source.close();
    },
  };
}

function readChunks(
  source: ByteSource,
  format: Exclude<Format, "parquet">,
): AsyncGenerator<RowChunk> {
  const { name } = source;
  switch (format) {
    case "ndjson":
      return readNdjson(source.bytes(), { name });
    case "json":
      return readJsonArray(source.bytes(), { name });
    case "csv":
      return readCsv(source.bytes(), { name });
    case "tsv":
      return readCsv(source.bytes(), { name, delimiter: "\t" });
  }
}

/** Cuts and joins chunks, so that each has as many rows as one request. */
export async function* rebatch(
  chunks: AsyncIterable<RowChunk>,
  options: BatchOptions,
): AsyncGenerator<RowChunk> {
  const { batchRows, batchBytes } = options;
  let batch = emptyChunk();
  let length = 0;
  for await (const chunk of chunks) {
    for (let index = 0; index < chunk.rows.length; index++) {
      const size = chunk.sizes[index] ?? 0;
      const full = batch.rows.length >= batchRows || length + size > batchBytes;
      if (full && batch.rows.length > 0) {
        yield batch;
        batch = emptyChunk();
        length = 0;
      }
      batch.rows.push(chunk.rows[index] ?? {});
      batch.lines.push(chunk.lines[index] ?? 0);
      batch.sizes.push(size);
      length += size;
    }
  }
  if (batch.rows.length > 0) yield batch;
}

interface BatchContext {
  schema: CollectionSchema;
  name: string;
  firstRow: number;
  /** Values are cells of CSV. */
  isText: boolean;
}

function toBatch(chunk: RowChunk, context: BatchContext): InputBatch {
  const { schema, name, firstRow, isText } = context;
  const { lines } = chunk;
  const place = (index: number): string => `${name}, line ${lines[index] ?? "?"}`;
  const rows = isText ? fitCells(schema, chunk.rows, place) : fitValues(schema, chunk.rows);
  try {
    const columns = rowsToColumns(schema, rows, { path: "rows" });
    return { firstRow, rows: columns.rows, columns, place };
  } catch (error) {
    throw atPlace(error, place);
  }
}

/**
 * An error about `rows[3].price` or `columns.price[3]` as an error about `price` at the place of row 3;
 * other errors as they are.
 */
export function atPlace(error: unknown, place: (index: number) => string): unknown {
  if (!MillraceError.is(error) || error.field === undefined) return error;
  const inRow = /^rows\[(\d+)\]\.?(.*)$/.exec(error.field);
  const inColumn = /^columns\.([^[]*)\[(\d+)\](.*)$/.exec(error.field);
  const row = inRow?.[1] ?? inColumn?.[2];
  if (row === undefined) return error;
  const value = inRow ? inRow[2] || "the row" : `${inColumn?.[1]}${inColumn?.[3]}`;
  const problem = error.message.replace(error.field, value);
  return new MillraceError(error.code, `${place(Number(row))}: ${problem}`, {
    retryable: error.retryable,
    maybeApplied: error.maybeApplied,
    cause: error,
  });
}
