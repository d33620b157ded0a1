/**
 * Encoding rows as a Parquet file, a column at a time.
 *
 * @module
 */

import { fromBinary } from "@bufbuild/protobuf";
import { type Clock, delay, MillraceError, storedFields } from "@millrace/types";
import {
  type Column,
  type ColumnBatch,
  ColumnBatchSchema,
  type CollectionSchema,
  type FieldSchema,
} from "@millrace/types/gen";
import { ByteWriter, ParquetWriter } from "hyparquet-writer/src/index.js";
import { type ColumnSlice, columnData } from "./column-data.ts";
import { parquetElements } from "./column-types.ts";
import { type ColumnStats, createColumnStats } from "./column-stats.ts";
import type { Piece } from "./segment.ts";

/** Rows to encode. */
export interface EncodeInput {
  schema: CollectionSchema;
  pieces: readonly Piece[];
}

/** A file on its way. */
export interface EncodedFile {
  /** The file's bytes, made as they are asked for. To be read once. */
  body: AsyncIterable<Uint8Array>;
  /** What is known of the columns, by name, after the body was read. */
  stats(): ReadonlyMap<string, ColumnStats>;
}

/** Makes files of rows. May work elsewhere, such as on another thread. */
export type Encoder = (input: EncodeInput) => EncodedFile;

/** Options of {@linkcode createParquetEncoder}. */
export interface ParquetEncoderOptions {
  clock: Clock;
  /** The most rows of a row group. Default 100000. */
  groupRows?: number;
  /** The most encoded bytes of a row group; a larger message is one by itself. Default 16 MiB. */
  groupBytes?: number;
  /** How long to work before others get a turn, in milliseconds. Default 10. */
  turnMs?: number;
}

/**
 * Encodes Parquet: SNAPPY, statistics, one row group after the other and within it one column after
 * the other, with turns for others in between, so that appends go on while a file is made.
 */
export function createParquetEncoder(options: ParquetEncoderOptions): Encoder {
  const { clock, groupRows = 100_000, groupBytes = 16 * 1024 * 1024, turnMs = 10 } = options;
  return ({ schema, pieces }) => {
    const stats = createColumnStats();
    return {
      body: encode(
        schema,
        groupsOf(pieces, groupRows, groupBytes),
        stats,
        createTurns(clock, turnMs),
      ),
      stats: () => stats.byName,
    };
  };
}

/** Rows of a row group: parts of pieces. */
type Group = { piece: Piece; start: number; end: number }[];

async function* encode(
  schema: CollectionSchema,
  groups: Iterable<Group>,
  stats: ReturnType<typeof createColumnStats>,
  turn: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  const fields = storedFields(schema);
  const writer = new ByteWriter();
  const parquet = new ParquetWriter({
    writer,
    schema: [
      { name: "schema", num_children: fields.length },
      ...fields.flatMap((field) => parquetElements(field)),
    ],
    createdBy: "millrace",
  });
  const take = (): Uint8Array => {
    const bytes = writer.getBytes().slice();
    // The offset counts on: it is the place in the file.
    writer.index = 0;
    return bytes;
  };
  for (const group of groups) {
    const slices = await decodeGroup(group, turn);
    const first = parquet.row_groups.length;
    for (const field of fields) {
      await writeColumn(parquet, field, slices);
      yield take();
      await turn();
    }
    joinRowGroups(parquet, first);
  }
  for (const { columns } of parquet.row_groups) stats.add(columns);
  await parquet.finish();
  yield take();
}

interface DecodedSlice {
  columns: Map<string, Column>;
  start: number;
  end: number;
  sequence: number;
}

async function decodeGroup(group: Group, turn: () => Promise<void>): Promise<DecodedSlice[]> {
  const slices: DecodedSlice[] = [];
  for (const { piece, start, end } of group) {
    const { columns } = decodePiece(piece);
    const byName = new Map(columns.map((column) => [column.name, column]));
    slices.push({ columns: byName, start, end, sequence: piece.sequence });
    await turn();
  }
  return slices;
}

function decodePiece({ sequence, payload, rows }: Piece): ColumnBatch {
  let batch: ColumnBatch;
  try {
    batch = fromBinary(ColumnBatchSchema, payload);
  } catch (cause) {
    throw new MillraceError(
      "DATA_LOSS",
      `the rows at sequence ${sequence} are not a ColumnBatch; they cannot be flushed`,
      { cause },
    );
  }
  if (batch.rows !== rows) {
    throw new MillraceError(
      "DATA_LOSS",
      `the insert at sequence ${sequence} says ${rows} rows and holds ${batch.rows}; it cannot be flushed`,
    );
  }
  return batch;
}

async function writeColumn(
  parquet: ParquetWriter,
  field: FieldSchema,
  slices: readonly DecodedSlice[],
): Promise<void> {
  const parts = slices.map(
    ({ columns, start, end, sequence }): ColumnSlice => ({
      column: columns.get(field.name),
      start,
      end,
      sequence,
    }),
  );
  const data = columnData(field, parts);
  await parquet.write({
    columnData: [{ name: field.name, data }],
    rowGroupSize: Math.max(1, data.length),
  });
}

/**
 * Makes one row group of those that were written since `first`: the writer was given each column by
 * itself, so that no call takes long, and made a row group of each.
 */
function joinRowGroups(parquet: ParquetWriter, first: number): void {
  const parts = parquet.row_groups.splice(first);
  const rows = parts[0]?.num_rows ?? 0n;
  parquet.row_groups.push({
    columns: parts.flatMap((part) => part.columns),
    num_rows: rows,
    total_byte_size: parts.reduce((sum, part) => sum + part.total_byte_size, 0n),
    total_compressed_size: parts.reduce(
      (sum, part) => sum + (part.total_compressed_size ?? 0n),
      0n,
    ),
  });
  parquet.num_rows = parquet.row_groups.reduce((sum, group) => sum + group.num_rows, 0n);
}

function* groupsOf(
  pieces: readonly Piece[],
  groupRows: number,
  groupBytes: number,
): Generator<Group> {
  let group: Group = [];
  let rows = 0;
  let bytes = 0;
  for (const piece of pieces) {
    const rowBytes = piece.payload.byteLength / Math.max(1, piece.rows);
    for (let start = 0; start < piece.rows; ) {
      const room = Math.min(groupRows - rows, Math.floor((groupBytes - bytes) / rowBytes));
      if (room < 1 && rows > 0) {
        yield group;
        group = [];
        rows = 0;
        bytes = 0;
        continue;
      }
      const end = Math.min(piece.rows, start + Math.max(1, room));
      group.push({ piece, start, end });
      rows += end - start;
      bytes += (end - start) * rowBytes;
      start = end;
    }
  }
  if (rows > 0) yield group;
}

/** Lets others run when a while has passed since they last could. */
function createTurns(clock: Clock, turnMs: number): () => Promise<void> {
  let since = clock.monotonic();
  return async () => {
    if (clock.monotonic() - since < turnMs) return;
    await delay(clock, 0);
    since = clock.monotonic();
  };
}
