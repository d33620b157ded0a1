/**
 * Rows of text formats: where they stand in their file, and what may go wrong with them.
 *
 * @module
 */

import { failure } from "../errors.ts";

/** A row before it is fitted to a schema. */
export type SourceRow = Record<string, unknown>;

/** Rows read together, in the order of the file. */
export interface RowChunk {
  rows: SourceRow[];
  /** The line on which each row begins, from 1. */
  lines: number[];
  /** Length of each row's text. Batches end by it, so it depends on the file alone. */
  sizes: number[];
}

/** Options of the readers of text formats. */
export interface TextReaderOptions {
  /** The file, for messages. */
  name: string;
  /** The longest row in characters. Default 16 Mi. */
  maxRowLength?: number;
}

/** The longest row that is read, in characters. */
export const defaultMaxRowLength: number = 16 * 1024 * 1024;

/** How many rows a reader hands over at a time, at most. */
export const chunkRows = 4096;

/** A chunk without rows. */
export function emptyChunk(): RowChunk {
  return { rows: [], lines: [], sizes: [] };
}

/** An error at a line of a file. */
export function lineFailure(name: string, line: number, problem: string): Error {
  return failure(`${name}, line ${line}: ${problem}`);
}

/** Refuses what is not a JSON object. */
export function checkRow(value: unknown, name: string, line: number): SourceRow {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as SourceRow;
  }
  throw lineFailure(name, line, `expected a JSON object, found ${kindOf(value)}`);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return `a ${typeof value}`;
}
