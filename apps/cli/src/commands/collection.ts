/**
 * `millrace collection create | list | describe | alter | truncate | drop`.
 *
 * @module
 */

import { toJson } from "@bufbuild/protobuf";
import { MillraceError, tickToMs, typeName } from "@millrace/types";
import {
  type Collection,
  CollectionSchema$ as CollectionMessage,
  DataType,
  type FieldSchema,
} from "@millrace/types/gen";
import { Command, type Option } from "commander";
import type { Io } from "../io.ts";
import { flag, parseInteger } from "../options.ts";
import { formatCount, formatTable, write, writeJson } from "../output.ts";
import { readFieldsFile, readSchemaFile } from "../schema-file.ts";
import { type ClientFlags, callOptions, clientCommand, withClient } from "./context.ts";

/** `millrace collection` with its commands. */
export function collectionCommand(io: Io): Command {
  return new Command("collection")
    .description("create, list, describe, alter, truncate and drop collections")
    .addCommand(createCommand(io))
    .addCommand(listCommand(io))
    .addCommand(describeCommand(io))
    .addCommand(alterCommand(io))
    .addCommand(truncateCommand(io))
    .addCommand(dropCommand(io));
}

/** `--shards N`, of the commands that create collections. */
export function shardsFlag(): Option {
  return flag("--shards <n>", "number of shards of a new collection")
    .argParser(parseInteger(1, 65_536))
    .default(1);
}

/** The collection of an answer, which has one by its contract. */
export function present(collection: Collection | undefined, name: string): Collection {
  if (collection) return collection;
  throw new MillraceError("INNER", `the server answered without the collection "${name}"`);
}

function createCommand(io: Io): Command {
  const schema = flag("--schema <file>", "its schema: a JSON file {fields: [{name, type, …}, …]}");
  return clientCommand("create", "create a collection")
    .argument("<name>", "the collection")
    .addOption(schema.makeOptionMandatory())
    .addOption(shardsFlag())
    .action(async (name: string, flags: ClientFlags & { schema: string; shards: number }) => {
      const schema = await readSchemaFile(flags.schema);
      const { shards } = flags;
      const collection = await withClient(flags.server, async ({ proxy }) => {
        const response = await proxy.createCollection({ name, schema, shards }, callOptions(io));
        return present(response.collection, name);
      });
      if (flags.json) await writeJson(io.stdout, toJson(CollectionMessage, collection));
      else await write(io.stdout, `created ${name} with ${count(collection.vchannels, "shard")}\n`);
    });
}

function listCommand(io: Io): Command {
  return clientCommand("list", "list the collections").action(async (flags: ClientFlags) => {
    const collections = await withClient(flags.server, async ({ proxy }) => {
      return (await proxy.listCollections({}, callOptions(io))).collections;
    });
    if (flags.json) {
      const all = collections.map((collection) => toJson(CollectionMessage, collection));
      return await writeJson(io.stdout, all);
    }
    const rows = collections.map((collection) => [
      collection.name,
      formatCount(collection.schema?.fields.length ?? 0),
      formatCount(collection.vchannels.length),
      createdAt(collection),
    ]);
    await write(io.stdout, formatTable(["NAME", "FIELDS", "SHARDS", "CREATED"], rows));
  });
}

function describeCommand(io: Io): Command {
  return clientCommand("describe", "show a collection's fields and where its table is")
    .argument("<name>", "the collection")
    .action(async (name: string, flags: ClientFlags) => {
      const collection = await withClient(flags.server, async ({ proxy }) => {
        const response = await proxy.describeCollection({ name }, callOptions(io));
        return present(response.collection, name);
      });
      if (flags.json) return await writeJson(io.stdout, toJson(CollectionMessage, collection));
      await write(io.stdout, describe(collection));
    });
}

function alterCommand(io: Io): Command {
  const add = flag("--add <file>", "nullable fields: a JSON file {fields: [{name, type, …}, …]}");
  return clientCommand("alter", "add fields to a collection; rows of before have none in them")
    .argument("<name>", "the collection")
    .addOption(add.makeOptionMandatory())
    .action(async (name: string, flags: ClientFlags & { add: string }) => {
      const addFields = await readFieldsFile(flags.add);
      const collection = await withClient(flags.server, async ({ proxy }) => {
        const response = await proxy.alterCollection({ name, addFields }, callOptions(io));
        return present(response.collection, name);
      });
      if (flags.json) return await writeJson(io.stdout, toJson(CollectionMessage, collection));
      const { version = 0 } = collection.schema ?? {};
      await write(io.stdout, `altered ${name}: its schema is of version ${version}\n`);
    });
}

function truncateCommand(io: Io): Command {
  const key = flag("--idempotency-key <key>", "so that a rerun is the same truncation");
  return clientCommand("truncate", "take all rows out of a collection's table")
    .argument("<name>", "the collection")
    .addOption(key.default(""))
    .action(async (name: string, flags: ClientFlags & { idempotencyKey: string }) => {
      const { idempotencyKey } = flags;
      await withClient(flags.server, ({ proxy }) =>
        proxy.truncateCollection({ name, idempotencyKey }, callOptions(io)),
      );
      if (flags.json) await writeJson(io.stdout, { truncated: name });
      else await write(io.stdout, `truncated ${name}\n`);
    });
}

function dropCommand(io: Io): Command {
  return clientCommand("drop", "drop a collection; its table stays in the object store")
    .argument("<name>", "the collection")
    .action(async (name: string, flags: ClientFlags) => {
      await withClient(flags.server, ({ proxy }) =>
        proxy.dropCollection({ name }, callOptions(io)),
      );
      if (flags.json) await writeJson(io.stdout, { dropped: name });
      else await write(io.stdout, `dropped ${name}\n`);
    });
}

function describe(collection: Collection): string {
  const fields = collection.schema?.fields ?? [];
  const partitions = collection.partitions.map((partition) => partition.name).join(", ");
  const rows = fields.map((field) => [field.name, fieldType(field), fieldNotes(field)]);
  return [
    `name        ${collection.name}\n`,
    `id          ${collection.id}\n`,
    `created     ${createdAt(collection)}\n`,
    `table       ${collection.tablePath}\n`,
    `partitions  ${partitions}\n`,
    `shards      ${collection.vchannels.join(", ")}\n\n`,
    formatTable(["FIELD", "TYPE", ""], rows),
  ].join("");
}

function fieldType(field: FieldSchema): string {
  const name = typeName(field.type);
  if (field.type === DataType.ARRAY) return `${name} of ${typeName(field.elementType)}`;
  if (field.type === DataType.VARCHAR) return `${name}(${field.maxLength})`;
  return field.dimension > 0 ? `${name}(${field.dimension})` : name;
}

function fieldNotes(field: FieldSchema): string {
  const notes = [
    field.primaryKey ? "primary key" : "",
    field.autoId ? "filled in by Millrace" : "",
    field.nullable ? "nullable" : "",
    field.defaultValue === undefined ? "" : `default ${field.defaultValue}`,
  ];
  return notes.filter((note) => note !== "").join(", ");
}

function createdAt(collection: Collection): string {
  return new Date(tickToMs(collection.createdTick)).toISOString();
}

function count(items: readonly unknown[], what: string): string {
  return `${items.length} ${what}${items.length === 1 ? "" : "s"}`;
}
