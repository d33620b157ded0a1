/**
 * CSV and TSV with a header line.
 *
 * @module
 */

import { Readable } from "node:stream";
import { CsvError, type Info, parse } from "csv-parse";
import { failure } from "../errors.ts";
import {
  chunkRows,
  defaultMaxRowLength,
  emptyChunk,
  lineFailure,
  type RowChunk,
  type SourceRow,
  type TextReaderOptions,
} from "./rows.ts";

/** Options of {@linkcode readCsv}. */
export interface CsvReaderOptions extends TextReaderOptions {
  /** What stands between fields. Default `,`. */
  delimiter?: string;
}

interface CsvRecord {
  record: (string | null)[];
  info: Info;
}

/**
 * Reads CSV. The first record names the fields. Values are strings; a field that is empty and not in
 * quotes is null. Records of another length than the header are errors that name the line.
 */
export async function* readCsv(
  bytes: AsyncIterable<Uint8Array>,
  options: CsvReaderOptions,
): AsyncGenerator<RowChunk> {
  const { name, delimiter = ",", maxRowLength = defaultMaxRowLength } = options;
  const parser = parse({
    bom: true,
    cast: (value, context) => (value === "" && !context.quoting ? null : value),
    delimiter,
    info: true,
    max_record_size: maxRowLength,
    skip_empty_lines: true,
  });
  const input = Readable.from(bytes, { objectMode: false });
  input.on("error", (error) => parser.destroy(error));
  input.pipe(parser);

  let header: string[] | undefined;
  let previousLine = 1;
  let chunk = emptyChunk();
  try {
    for await (const { record, info } of parser as AsyncIterable<CsvRecord>) {
      if (header === undefined) {
        header = checkHeader(record, name, info.lines);
      } else {
        chunk.rows.push(rowOf(header, record));
        chunk.lines.push(previousLine);
        chunk.sizes.push(lengthOf(record));
      }
      previousLine = info.lines + 1;
      if (chunk.rows.length < chunkRows) continue;
      yield chunk;
      chunk = emptyChunk();
    }
  } catch (error) {
    throw csvFailure(error, name);
  } finally {
    input.destroy();
  }
  if (header === undefined) throw failure(`${name} is empty: a CSV file begins with a header line`);
  if (chunk.rows.length > 0) yield chunk;
}

function checkHeader(record: readonly (string | null)[], name: string, line: number): string[] {
  const seen = new Set<string>();
  return record.map((cell, index) => {
    const column = (cell ?? "").trim();
    if (column === "") throw lineFailure(name, line, `column ${index + 1} has no name`);
    if (seen.has(column)) throw lineFailure(name, line, `two columns are called "${column}"`);
    seen.add(column);
    return column;
  });
}

function rowOf(header: readonly string[], record: readonly (string | null)[]): SourceRow {
  const row: SourceRow = {};
  for (let column = 0; column < header.length; column++) {
    row[header[column] as string] = record[column];
  }
  return row;
}

function lengthOf(record: readonly (string | null)[]): number {
  let length = record.length;
  for (const value of record) length += value?.length ?? 0;
  return length;
}

function csvFailure(error: unknown, name: string): unknown {
  if (!(error instanceof CsvError)) return error;
  const lines = Number((error as { lines?: number }).lines);
  const line = Number.isInteger(lines) ? lines : undefined;
  const problem = error.message.replace(/ (on|at) line \d+/, "");
  return line === undefined ? failure(`${name}: ${problem}`) : lineFailure(name, line, problem);
}
