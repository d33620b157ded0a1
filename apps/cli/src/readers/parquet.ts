/**
 * Parquet files: a stretch of rows at a time, columns to columns.
 *
 * @module
 */

import { type FileHandle, open } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { batchBytes, MillraceError, rowsToColumns, sliceRows } from "@millrace/types";
import {
  type CollectionSchema,
  type ColumnBatch,
  ColumnBatchSchema,
  type FieldSchema,
} from "@millrace/types/gen";
import {
  type AsyncBuffer,
  type DecodedArray,
  type FileMetaData,
  type ParquetParsers,
  parquetMetadataAsync,
  parquetScan,
  parquetSchema,
  type RowGroup,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { failure } from "../errors.ts";
import { buildSchema } from "../infer.ts";
import { statFile } from "./byte-source.ts";
import type { BatchOptions, Input, InputBatch } from "./input.ts";
import { fitValues } from "./json.ts";
import { isDirect, type ParquetColumn, parquetColumns } from "./parquet-types.ts";
import { buildColumn } from "./parquet-values.ts";
import { atPlace } from "./row-input.ts";
import type { SourceRow } from "./rows.ts";

/** A row group above this size in bytes is read in parts, where the file has page indexes. */
const largeGroupBytes = 64 * 1024 * 1024;

/** How many rows of a large row group are decoded at a time. */
const stretchRows = 64 * 1024;

/** Rows `start` to `end - 1` of a row group. */
interface Stretch {
  group: RowGroup;
  start: number;
  end: number;
  /** Number of its first row in the file, from 0. */
  firstRow: number;
}

/** Opens a Parquet file. Errors name the file and say what is wrong with it. */
export async function openParquet(path: string): Promise<Input> {
  const { size } = await statFile(path);
  const handle = await open(path, "r");
  let bytesRead = 0;
  const file = asyncBuffer(handle, size, (bytes) => {
    bytesRead += bytes;
  });
  try {
    const metadata = await parquetMetadataAsync(file, { geoparquet: false });
    const columns = parquetColumns(parquetSchema(metadata));
    annotateIntegers(metadata);
    return {
      name: path,
      format: "parquet",
      totalBytes: size,
      bytesRead: () => Math.min(bytesRead, size),
      async inferSchema(key) {
        const fields = columns.map((column) => column.field);
        return buildSchema(fields, { name: path, key });
      },
      batches: (schema, options) => readBatches({ path, file, metadata, columns }, schema, options),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw damaged(path, error);
  }
}

interface ParquetFile {
  path: string;
  file: AsyncBuffer;
  metadata: FileMetaData;
  columns: ParquetColumn[];
}

function asyncBuffer(
  handle: FileHandle,
  size: number,
  onRead: (bytes: number) => void,
): AsyncBuffer {
  return {
    byteLength: size,
    async slice(start, end = size) {
      const bytes = new Uint8Array(Math.max(0, end - start));
      let filled = 0;
      while (filled < bytes.length) {
        const at = start + filled;
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, at);
        if (bytesRead === 0) throw failure("it ends in the middle of a column");
        filled += bytesRead;
      }
      onRead(bytes.length);
      return bytes.buffer;
    },
  };
}

async function* readBatches(
  parquet: ParquetFile,
  schema: CollectionSchema,
  options: BatchOptions,
): AsyncGenerator<InputBatch> {
  const { path, metadata } = parquet;
  const read = chooseReader(parquet, schema);
  for (const stretch of stretchesOf(metadata)) {
    let { firstRow } = stretch;
    for (const batch of await read(stretch, options.batchRows)) {
      for (const columns of halved(batch, options.batchBytes)) {
        const start = firstRow;
        const place = (index: number): string => `${path}, row ${start + index + 1}`;
        yield { firstRow, rows: columns.rows, columns, place };
        firstRow += columns.rows;
      }
    }
  }
}

/** Rows that are too many bytes for a request are halved: a rule of the content alone. */
function* halved(batch: ColumnBatch, mostBytes: number): Generator<ColumnBatch> {
  if (batch.rows === 1 || batchBytes(batch) <= mostBytes) {
    yield batch;
    return;
  }
  const middle = batch.rows >> 1;
  yield* halved(sliceRows(batch, 0, middle), mostBytes);
  yield* halved(sliceRows(batch, middle, batch.rows), mostBytes);
}

/** Reads a stretch as batches of a number of rows. */
type StretchReader = (stretch: Stretch, batchRows: number) => Promise<ColumnBatch[]>;

function chooseReader(parquet: ParquetFile, schema: CollectionSchema): StretchReader {
  const { path, columns } = parquet;
  const fields = new Map(schema.fields.map((field) => [field.name, field]));
  const unknown = columns.find(({ name }) => !fields.has(name));
  if (unknown && !schema.enableDynamicField) {
    throw failure(`${path} has a column "${unknown.name}" that the collection has not`);
  }
  const targets = columns.flatMap(({ name, kind }) => {
    const field = fields.get(name);
    return field && isDirect(kind, field.type) ? [field] : [];
  });
  return targets.length === columns.length
    ? directReader(parquet, targets)
    : rowReader(parquet, schema);
}

/** Values to columns at once, one column at a time, so that only one is held as values. */
function directReader(parquet: ParquetFile, fields: readonly FieldSchema[]): StretchReader {
  return async (stretch, batchRows) => {
    const batches = rangesOf(stretch, batchRows).map(({ start, end }) =>
      create(ColumnBatchSchema, { rows: end - start }),
    );
    for (const field of fields) {
      const data = await readColumn(parquet, field.name, stretch, directParsers);
      rangesOf(stretch, batchRows).forEach(({ start, end }, index) => {
        try {
          batches[index]?.columns.push(buildColumn(field, { data, start, end }));
        } catch (error) {
          const rows = `rows ${stretch.firstRow + start + 1} to ${stretch.firstRow + end}`;
          const problem = error instanceof Error ? error.message : String(error);
          throw failure(`${parquet.path}, ${rows}: ${problem}`, error);
        }
      });
    }
    return batches;
  };
}

/** For columns without a direct way: rows, as if they had been read from JSON. */
function rowReader(parquet: ParquetFile, schema: CollectionSchema): StretchReader {
  const { path, columns } = parquet;
  return async (stretch, batchRows) => {
    const data = new Map<string, DecodedArray>();
    for (const { name } of columns) {
      data.set(name, await readColumn(parquet, name, stretch, timeParsers));
    }
    return rangesOf(stretch, batchRows).map(({ start, end }) => {
      const rows: SourceRow[] = [];
      for (let row = start; row < end; row++) {
        const entries = columns.map(({ name }) => [name, jsonValue(data.get(name)?.[row])]);
        rows.push(Object.fromEntries(entries));
      }
      try {
        return rowsToColumns(schema, fitValues(schema, rows), { path: "rows" });
      } catch (error) {
        throw atPlace(error, (index) => `${path}, row ${stretch.firstRow + start + index + 1}`);
      }
    });
  };
}

/** Rows of a stretch, from 0, in pieces of `batchRows`. */
function rangesOf(stretch: Stretch, batchRows: number): { start: number; end: number }[] {
  const rows = stretch.end - stretch.start;
  return Array.from({ length: Math.ceil(rows / batchRows) }, (_, index) => ({
    start: index * batchRows,
    end: Math.min(rows, (index + 1) * batchRows),
  }));
}

function jsonValue(value: unknown): unknown {
  if (value === undefined) return null;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>);
  if (Array.isArray(value)) return value.map(jsonValue);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, jsonValue(inner)]));
}

const smallest = BigInt(Number.MIN_SAFE_INTEGER);
const largest = BigInt(Number.MAX_SAFE_INTEGER);

/** A number where it is exact: far cheaper than a bigint per row. */
function exact(value: bigint | number): number | bigint {
  return value >= smallest && value <= largest ? Number(value) : value;
}

const timeParsers: Partial<ParquetParsers> = {
  timestampFromMilliseconds: (millis) => exact(millis * 1000n),
  timestampFromMicroseconds: exact,
  // INT96 and nanoseconds: what is finer than microseconds is cut off, towards the past.
  timestampFromNanoseconds: (nanos) => exact((nanos - (((nanos % 1000n) + 1000n) % 1000n)) / 1000n),
  dateFromDays: (days) => days * 86_400_000_000,
};

const directParsers: Partial<ParquetParsers> = {
  ...timeParsers,
  stringFromBytes: (bytes) => bytes,
  jsonFromBytes: (bytes) => bytes,
};

async function readColumn(
  parquet: ParquetFile,
  column: string,
  stretch: Stretch,
  parsers: Partial<ParquetParsers>,
): Promise<DecodedArray> {
  const { path, file } = parquet;
  // Over one row group, and made anew: a scan keeps what it decoded last.
  const metadata = { ...parquet.metadata, row_groups: [stretch.group] };
  const options = { file, metadata, compressors, parsers, utf8: false, geoparquet: false };
  try {
    const scan = await parquetScan(options);
    const { start: rowStart, end: rowEnd } = stretch;
    return await scan.readColumn({ column, rowStart, rowEnd });
  } catch (error) {
    throw damaged(path, error);
  }
}

/** Row groups; large ones in parts, where page indexes make it possible to read a part. */
function stretchesOf(metadata: FileMetaData): Stretch[] {
  const stretches: Stretch[] = [];
  let groupStart = 0;
  for (const group of metadata.row_groups) {
    const rows = Number(group.num_rows);
    const indexed = group.columns.every((chunk) => chunk.offset_index_length);
    const step = indexed && group.total_byte_size > largeGroupBytes ? stretchRows : rows;
    for (let start = 0; start < rows; start += step) {
      const end = Math.min(rows, start + step);
      stretches.push({ group, start, end, firstRow: groupStart + start });
    }
    groupStart += rows;
  }
  return stretches;
}

/**
 * Marks INT64 columns as timestamps in microseconds, so that the reader hands their values to a parser
 * once per dictionary entry, rather than making a bigint per row.
 */
function annotateIntegers(metadata: FileMetaData): void {
  for (const element of metadata.schema) {
    const { type, logical_type: logical, converted_type: converted } = element;
    if (type !== "INT64" || element.repetition_type === "REPEATED") continue;
    const plain = logical === undefined && (converted ?? "INT_64") === "INT_64";
    const signed = logical?.type === "INTEGER" && logical.isSigned && logical.bitWidth === 64;
    if (!plain && !signed) continue;
    element.logical_type = { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MICROS" };
  }
}

function damaged(path: string, error: unknown): unknown {
  if (MillraceError.is(error) && !/^it ends/.test(error.message)) return error;
  const problem = error instanceof Error ? error.message.replace(/^parquet /, "") : String(error);
  return failure(`${path} is not a whole Parquet file: ${problem}`, error);
}
