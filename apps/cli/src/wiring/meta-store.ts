/**
 * The metadata store that flags ask for.
 *
 * @module
 */

import { createMemoryMetaStore, type MetaStore } from "@millrace/storage";
import { createFileMetaStore } from "@millrace/storage/file";
import { systemClock } from "@millrace/types/node";
import { InvalidArgumentError, type Option } from "commander";
import { flag } from "../options.ts";
import { resolveFolder } from "./object-store.ts";

/** Where metadata is, as a flag says it. */
export type MetaSpec = { type: "memory" } | { type: "file"; dir: string };

/** `--meta SPEC`. */
export function metaFlag(): Option {
  return flag("--meta <spec>", "where metadata is: file:DIR, or memory, which keeps nothing")
    .argParser(parseMetaSpec)
    .default({ type: "file", dir: resolveFolder("millrace-meta") }, "file:./millrace-meta");
}

/** Reads `file:DIR` or `memory`. Throws `InvalidArgumentError`. */
export function parseMetaSpec(text: string): MetaSpec {
  if (text === "memory") return { type: "memory" };
  const match = /^file:(.+)$/.exec(text);
  if (match?.[1]) return { type: "file", dir: resolveFolder(match[1]) };
  throw new InvalidArgumentError("Give file:DIR or memory.");
}

/** Opens the store, for this process alone. */
export async function openMetaStore(spec: MetaSpec): Promise<MetaStore> {
  if (spec.type === "memory") return createMemoryMetaStore({ clock: systemClock });
  return await createFileMetaStore({ dir: spec.dir, clock: systemClock });
}
