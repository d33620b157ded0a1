/**
 * What an insert reads from, whatever the format.
 *
 * @module
 */

import type { CollectionSchema, ColumnBatch } from "@millrace/types/gen";

/** The formats that are read. */
export const formats = ["ndjson", "json", "csv", "tsv", "parquet"] as const;

/** A format: `json` is an array of objects, `ndjson` one object a line. */
export type Format = (typeof formats)[number];

/** Rows that go into one request. */
export interface InputBatch {
  /** From 0, over the whole input. */
  firstRow: number;
  rows: number;
  columns: ColumnBatch;
  /** Where row `index` of the batch stands, for messages: `flights.csv, line 17`. */
  place(index: number): string;
}

/** Options of {@linkcode Input.batches}. */
export interface BatchOptions {
  /** The most rows in a batch. */
  batchRows: number;
  /** About the most bytes in a batch; one row may be larger. */
  batchBytes: number;
}

/** An opened file, or standard input. */
export interface Input {
  readonly name: string;
  readonly format: Format;
  /** Of the file on disk, if it is known. */
  readonly totalBytes: number | undefined;
  /** Of the file, so far. */
  bytesRead(): number;
  /** A schema from the beginning of the file. To be called at most once, before `batches`. */
  inferSchema(key: string | undefined): Promise<CollectionSchema>;
  /**
   * The rows, fitted to a schema, in order. Where batches end depends on the file and the options
   * alone, never on time, so that a second run makes the same batches. To be called once.
   */
  batches(schema: CollectionSchema, options: BatchOptions): AsyncIterable<InputBatch>;
  close(): Promise<void>;
}
