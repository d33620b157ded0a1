/**
 * The text of a Delta log: actions, one JSON object a line.
 *
 * @module
 */

import { MillraceError, storedFields, type Tick } from "@millrace/types";
import { type CollectionSchema, DataType } from "@millrace/types/gen";
import { deltaField } from "./column-types.ts";
import type { RowCommit, TableDescription, TableFile } from "./table.ts";

/** The column by which tables are partitioned; it stands in paths, not in files. */
export const partitionColumn = "_partition";

/** What a commit says of its making. */
export interface CommitContext {
  /** Milliseconds since 1970. */
  now: number;
  /** The commit creates the table. */
  first: boolean;
  /** The paths of the files that it takes out of the table. */
  removed: readonly string[];
  /** What the table says of itself from this commit on; absent: the same as before. */
  description?: TableDescription;
}

/** What the flusher reads in a commit. */
export interface ReadCommit {
  /** By application: the last sequence by vchannel. */
  transactions: Map<string, number>;
  /** The paths of the files that it adds. */
  paths: Set<string>;
  /** The paths of the files that it takes out of the table. */
  removed: Set<string>;
  /** Of the owner that wrote it, and for which vchannel; absent if it is not one of Millrace. */
  writer?: { vchannel: string; term: number };
  /** What the table says of itself from there on; absent: the same as before. */
  description?: TableDescription;
}

const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder();

/** The object's name of a version. */
export function versionName(version: number): string {
  return `${String(version).padStart(20, "0")}.json`;
}

/** The version of an object's name; `undefined` if it is not a commit. */
export function parseVersionName(name: string): number | undefined {
  const match = /^(\d{20})\.json$/.exec(name);
  return match ? Number(match[1]) : undefined;
}

/** Encodes a commit. */
export function encodeCommit(commit: RowCommit, context: CommitContext): Uint8Array {
  const { now, first, removed, description } = context;
  const { vchannel, lastSequence, schema } = commit;
  const actions: unknown[] = [{ commitInfo: commitInfo(commit, now) }];
  if (first) actions.push({ protocol: { minReaderVersion: 1, minWriterVersion: 2 } });
  if (description) actions.push({ metaData: metaData(schema, description) });
  actions.push({ txn: { appId: vchannel, version: lastSequence, lastUpdated: now } });
  for (const path of removed) actions.push({ remove: removeFile(path, now) });
  for (const file of commit.files) actions.push({ add: addFile(file, schema, now) });
  return textEncoder.encode(`${actions.map((action) => JSON.stringify(action)).join("\n")}\n`);
}

/** Decodes a commit. Throws `DATA_LOSS` with its key if it is not one. */
export function decodeCommit(key: string, body: Uint8Array): ReadCommit {
  const commit: ReadCommit = { transactions: new Map(), paths: new Set(), removed: new Set() };
  for (const line of textDecoder.decode(body).split("\n")) {
    if (line.trim() === "") continue;
    let action: Actions;
    try {
      action = JSON.parse(line) as Actions;
    } catch (cause) {
      throw new MillraceError("DATA_LOSS", `${key} is not a commit of a Delta log`, { cause });
    }
    if (action.txn) commit.transactions.set(action.txn.appId, action.txn.version);
    if (action.add) commit.paths.add(decodeURIComponent(action.add.path));
    if (action.remove) commit.removed.add(decodeURIComponent(action.remove.path));
    const millrace = action.commitInfo?.millrace;
    if (millrace) commit.writer = { vchannel: millrace.vchannel, term: millrace.term };
    if (action.metaData) commit.description = descriptionOf(action.metaData);
  }
  return commit;
}

interface Actions {
  txn?: { appId: string; version: number };
  add?: { path: string };
  remove?: { path: string };
  metaData?: MetaData;
  commitInfo?: { millrace?: MillraceInfo };
}

interface MillraceInfo {
  vchannel: string;
  term: number;
  firstSequence: number;
  lastSequence: number;
  lastTick: string;
}

const append = {
  operation: "WRITE",
  operationParameters: { mode: "Append", partitionBy: JSON.stringify([partitionColumn]) },
  isBlindAppend: true,
};
const truncation = { operation: "TRUNCATE", operationParameters: {}, isBlindAppend: false };

function commitInfo(commit: RowCommit, now: number): object {
  const { vchannel, term, firstSequence, lastSequence, lastTick } = commit;
  const millrace: MillraceInfo = {
    vchannel,
    term,
    firstSequence,
    lastSequence,
    lastTick: tickText(lastTick),
  };
  return {
    timestamp: now,
    ...(commit.truncates ? truncation : append),
    engineInfo: "millrace",
    millrace,
  };
}

/** Ticks do not fit JSON's numbers. */
function tickText(tick: Tick): string {
  return tick.toString();
}

/** What is read of `metaData`. */
interface MetaData {
  id: string;
  createdTime?: number;
  configuration?: Record<string, string>;
}

const versionProperty = "millrace.schemaVersion";

function descriptionOf({ id, createdTime = 0, configuration }: MetaData): TableDescription {
  return {
    id,
    createdMs: createdTime,
    schemaVersion: Number(configuration?.[versionProperty] ?? 1),
  };
}

function metaData(schema: CollectionSchema, description: TableDescription): object {
  const fields = [
    ...storedFields(schema).map(deltaField),
    { name: partitionColumn, type: "string", nullable: false, metadata: {} },
  ];
  const { id, createdMs, schemaVersion } = description;
  return {
    id,
    format: { provider: "parquet", options: {} },
    schemaString: JSON.stringify({ type: "struct", fields }),
    partitionColumns: [partitionColumn],
    configuration: { [versionProperty]: String(schemaVersion) },
    createdTime: createdMs,
  };
}

function addFile(file: TableFile, schema: CollectionSchema, now: number): object {
  return {
    path: file.path,
    partitionValues: { [partitionColumn]: file.partition },
    size: file.size,
    modificationTime: now,
    dataChange: true,
    stats: JSON.stringify(fileStats(file, schema)),
  };
}

function removeFile(path: string, now: number): object {
  return { path, deletionTimestamp: now, dataChange: true };
}

const boundedTypes: ReadonlySet<DataType> = new Set([
  DataType.BOOL,
  DataType.INT8,
  DataType.INT16,
  DataType.INT32,
  DataType.INT64,
  DataType.FLOAT,
  DataType.DOUBLE,
]);

function fileStats({ rows, stats }: TableFile, schema: CollectionSchema): object {
  const minValues: Record<string, unknown> = {};
  const maxValues: Record<string, unknown> = {};
  const nullCount: Record<string, number> = {};
  for (const { name, type } of storedFields(schema)) {
    const column = stats.get(name);
    if (!column) continue;
    nullCount[name] = column.nulls;
    if (column.min === undefined || !boundedTypes.has(type)) continue;
    minValues[name] = column.min;
    maxValues[name] = column.max;
  }
  return { numRecords: rows, minValues, maxValues, nullCount };
}
