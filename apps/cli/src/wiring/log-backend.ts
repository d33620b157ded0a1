/**
 * The backend of the write-ahead log that flags ask for.
 *
 * @module
 */

import { join } from "node:path";
import { createMemoryBackend, type LogBackend } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";
import { InvalidArgumentError, type Option } from "commander";
import { flag } from "../options.ts";
import { resolveFolder } from "./object-store.ts";

/** Where a log is, as a flag says it; a file log without a folder is under the data folder. */
export type LogSpec = { type: "memory" } | { type: "file"; dir: string | undefined };

/** `--wal SPEC`. */
export function walFlag(): Option {
  return flag("--wal <spec>", "where the log is: file, file:DIR, or memory, which keeps nothing")
    .argParser(parseLogSpec)
    .default({ type: "file", dir: undefined }, "file:DATA/wal");
}

/** Reads `file`, `file:DIR` or `memory`. Throws `InvalidArgumentError`. */
export function parseLogSpec(text: string): LogSpec {
  if (text === "memory") return { type: "memory" };
  if (text === "file") return { type: "file", dir: undefined };
  const match = /^file:(.+)$/.exec(text);
  if (match?.[1]) return { type: "file", dir: resolveFolder(match[1]) };
  throw new InvalidArgumentError("Give file, file:DIR or memory.");
}

/** Opens the backend. */
export function openLogBackend(spec: LogSpec, dataFolder: string): LogBackend {
  if (spec.type === "memory") return createMemoryBackend();
  return createFileBackend({ dir: spec.dir ?? join(dataFolder, "wal") });
}
