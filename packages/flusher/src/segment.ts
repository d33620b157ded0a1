/**
 * Segments: rows of one partition that are in the log and not yet in a table, as views of what the
 * log holds.
 *
 * @module
 */

import type { Tick } from "@millrace/types";

/** The rows of one insert message. */
export interface Piece {
  /** Of the batch with which it counts: its own, or the one with the commit of its transaction. */
  sequence: number;
  rows: number;
  /** The encoded ColumnBatch. */
  payload: Uint8Array;
}

/** Rows of one partition of one vchannel, in log order. */
export interface Segment {
  partitionId: bigint;
  rows: number;
  pieces: Piece[];
}

/** Everything of one vchannel in a range of the log, to be committed at once. */
export interface RowRange {
  /** The first and the last sequence, inclusive: with no batch outside do any of the rows count. */
  firstSequence: number;
  lastSequence: number;
  /**
   * Where the log is to be read from to have all of the rows: the beginning of the oldest transaction
   * that was open before the first of them, else the first sequence.
   */
  readFrom: number;
  /** The first tick of the first batch that has rows. */
  firstTick: Tick;
  /** The last tick of the range. */
  lastTick: Tick;
  rows: number;
  /** What the rows take in memory. */
  bytes: number;
  /** By partition id. */
  segments: Map<bigint, Segment>;
}

/** What a piece takes in memory besides its payload, in bytes. */
export const pieceOverhead = 256;

/** What a piece takes in memory. */
export function pieceBytes(payload: Uint8Array): number {
  return payload.byteLength + pieceOverhead;
}

/** A range that begins at a batch and has no rows yet. */
export function openRange(sequence: number, tick: Tick, readFrom: number): RowRange {
  return {
    firstSequence: sequence,
    lastSequence: sequence,
    readFrom,
    firstTick: tick,
    lastTick: tick,
    rows: 0,
    bytes: 0,
    segments: new Map(),
  };
}

/** Adds the rows of a message. */
export function addPiece(range: RowRange, partitionId: bigint, piece: Piece): void {
  let segment = range.segments.get(partitionId);
  if (!segment) {
    segment = { partitionId, rows: 0, pieces: [] };
    range.segments.set(partitionId, segment);
  }
  segment.pieces.push(piece);
  segment.rows += piece.rows;
  range.rows += piece.rows;
  range.bytes += pieceBytes(piece.payload);
}

/** The part of a range that lies behind a sequence; the range itself if all of it does. */
export function rowsAfter(range: RowRange, sequence: number): RowRange {
  if (range.firstSequence > sequence) return range;
  const rest = openRange(sequence + 1, range.firstTick, range.readFrom);
  rest.lastSequence = range.lastSequence;
  rest.lastTick = range.lastTick;
  for (const { partitionId, pieces } of range.segments.values()) {
    for (const piece of pieces) {
      if (piece.sequence > sequence) addPiece(rest, partitionId, piece);
    }
  }
  return rest;
}
