/**
 * `millrace insert`.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import type { Collection, CollectionSchema } from "@millrace/types/gen";
import { type Command, Option } from "commander";
import { callTimeoutMs, explainCallError, type MillraceClient, retrying } from "../client.ts";
import { describeError, usageError } from "../errors.ts";
import { type InsertCounts, insertBatches } from "../insert.ts";
import type { Io } from "../io.ts";
import { environmentName, flag, parseDuration, parseInteger } from "../options.ts";
import { formatCount, write, writeJson } from "../output.ts";
import { type Progress, startProgress } from "../progress.ts";
import { type Format, formats, type Input, openInput } from "../readers/mod.ts";
import { present, shardsFlag } from "./collection.ts";
import { type ClientFlags, clientCommand, withClient } from "./context.ts";

/** About the most bytes of a request. */
const batchBytes = 1024 * 1024;

interface InsertFlags extends ClientFlags {
  create?: boolean;
  key?: string;
  shards: number;
  partition?: string;
  format?: Format;
  idempotencyPrefix?: string;
  batchRows: number;
  inFlight: number;
  retryFor: number;
}

/** `millrace insert NAME FILE`. */
export function insertCommand(io: Io): Command {
  const format = new Option("--format <format>", "format of the file, if its name does not tell");
  return clientCommand("insert", "insert the rows of a file")
    .argument("<name>", "the collection")
    .argument(
      "<file>",
      "NDJSON, JSON array, CSV, TSV or Parquet, also as .gz; - for standard input",
    )
    .addOption(flag("--create", "create the collection if it is new, with an inferred schema"))
    .addOption(flag("--key <field>", "primary key of a new collection; else one is filled in"))
    .addOption(shardsFlag())
    .addOption(flag("--partition <name>", "partition that the rows go to, else _default"))
    .addOption(format.env(environmentName(format)).choices(formats))
    .addOption(
      flag("--idempotency-prefix <prefix>", "a rerun with the same prefix inserts nothing twice"),
    )
    .addOption(
      flag("--batch-rows <n>", "most rows in a request")
        .argParser(parseInteger(1, 1_000_000))
        .default(16_384),
    )
    .addOption(
      flag("--in-flight <n>", "requests under way at a time")
        .argParser(parseInteger(1, 64))
        .default(4),
    )
    .addOption(
      flag("--retry-for <duration>", "how long a request is tried again while the server is away")
        .argParser(parseDuration)
        .default(60_000, "60s"),
    )
    .action((name: string, file: string, flags: InsertFlags) => insert(io, name, file, flags));
}

async function insert(io: Io, name: string, file: string, flags: InsertFlags): Promise<void> {
  if (flags.key !== undefined && !flags.create) throw usageError("--key is used with --create");
  const prefix = flags.idempotencyPrefix ?? randomPrefix(io);
  const longest = 200;
  if (Buffer.byteLength(prefix) > longest) {
    throw usageError(`--idempotency-prefix is longer than ${longest} bytes`);
  }
  const input = await openInput(file, { format: flags.format, stdin: io.stdin });
  const counts: InsertCounts = { rows: 0, duplicates: 0 };
  const started = io.clock.monotonic();
  try {
    await withClient(flags.server, (client) =>
      run({ io, name, flags, prefix, client, input, counts }),
    );
  } catch (error) {
    const done = counts.rows === 0 ? "" : `; ${formatCount(counts.rows)} rows were inserted before`;
    if (!MillraceError.is(error) || done === "") throw error;
    throw new MillraceError(error.code, `${error.message}${done}`, { cause: error });
  } finally {
    await input.close();
  }
  await writeSummary(io, name, flags, counts, (io.clock.monotonic() - started) / 1000);
}

interface InsertRun {
  io: Io;
  name: string;
  flags: InsertFlags;
  prefix: string;
  client: MillraceClient;
  input: Input;
  counts: InsertCounts;
}

async function run(insertion: InsertRun): Promise<void> {
  const { io, name, flags, prefix, client, input, counts } = insertion;
  const { clock, random, signal } = io;
  const { totalBytes } = input;
  const state = () => ({ rows: counts.rows, bytes: input.bytesRead(), totalBytes });
  const progress = startProgress({ output: io.stderr, clock, state });
  const onRetry = noteRetries(progress, client.server);
  const retry = { clock, random, signal, retryForMs: flags.retryFor, onRetry };
  try {
    const schema = await retrying(() => schemaOf(insertion, progress), retry);
    const { batchRows, inFlight, partition = "" } = flags;
    const batches = input.batches(schema, { batchRows, batchBytes });
    const options = { client, collection: name, partition, prefix, inFlight, retry, counts };
    await insertBatches(batches, options);
  } finally {
    progress.stop();
  }
}

/** The schema of the collection, which is created if that is asked for. */
async function schemaOf(insertion: InsertRun, progress: Progress): Promise<CollectionSchema> {
  const { client, name, flags } = insertion;
  const calls = { timeoutMs: callTimeoutMs, signal: insertion.io.signal };
  try {
    const { collection } = await client.proxy.describeCollection({ name }, calls);
    return schemaIn(collection, name);
  } catch (error) {
    if (!MillraceError.is(error, "COLLECTION_NOT_FOUND")) throw error;
    if (!flags.create) {
      throw new MillraceError(error.code, `${error.message}; --create creates it`, {
        cause: error,
      });
    }
  }
  const schema = await inferOnce(insertion);
  const { shards } = flags;
  const { collection } = await client.proxy.createCollection({ name, schema, shards }, calls);
  progress.note(`created ${name}: ${schema.fields.map((field) => field.name).join(", ")}`);
  return schemaIn(collection, name);
}

const inferred = new WeakMap<Input, Promise<CollectionSchema>>();

/** The creation may be tried again; the beginning of the file is read once. */
function inferOnce({ input, flags }: InsertRun): Promise<CollectionSchema> {
  const schema = inferred.get(input) ?? input.inferSchema(flags.key);
  inferred.set(input, schema);
  return schema;
}

function schemaIn(collection: Collection | undefined, name: string): CollectionSchema {
  const { schema } = present(collection, name);
  if (schema) return schema;
  throw new MillraceError("INNER", `the server answered without the schema of "${name}"`);
}

/** Says once per outage that it waits. */
function noteRetries(
  progress: Progress,
  server: string,
): (error: MillraceError, attempt: number) => void {
  let noted = "";
  return (error) => {
    const problem = describeError(explainCallError(error, server));
    if (problem === noted) return;
    noted = problem;
    progress.note(`waiting: ${problem}`);
  };
}

function randomPrefix(io: Io): string {
  return Buffer.from(io.random.bytes(16)).toString("hex");
}

async function writeSummary(
  io: Io,
  name: string,
  flags: InsertFlags,
  counts: InsertCounts,
  seconds: number,
): Promise<void> {
  const { rows, duplicates } = counts;
  const rate = rows / Math.max(seconds, 0.001);
  if (flags.json) {
    const rowsPerSecond = Math.round(rate);
    return await writeJson(io.stdout, {
      collection: name,
      rows,
      duplicates,
      seconds,
      rowsPerSecond,
    });
  }
  const earlier = duplicates === 0 ? "" : `, ${formatCount(duplicates)} of them by an earlier run`;
  const time = `${seconds.toFixed(1)} s (${formatCount(rate)} rows/s)`;
  await write(io.stdout, `inserted ${formatCount(rows)} rows into ${name} in ${time}${earlier}\n`);
}
