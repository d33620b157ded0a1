/**
 * The backend of the write-ahead log that settings ask for.
 *
 * @module
 */

import { join } from "node:path";
import { createMemoryBackend, type LogBackend } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";
import { InvalidArgumentError } from "commander";
import type { Config } from "../config/schema/mod.ts";
import { resolveFolder } from "./object-store.ts";

/** Where a log is, as a setting says it; a file log without a folder is under the data folder. */
export type LogSpec = { type: "memory" } | { type: "file"; dir: string | undefined };

/** Reads `file`, `file:DIR` or `memory`. Throws `InvalidArgumentError`. */
export function parseLogSpec(text: string): LogSpec {
  if (text === "memory") return { type: "memory" };
  if (text === "file") return { type: "file", dir: undefined };
  const match = /^file:(.+)$/.exec(text);
  if (match?.[1]) return { type: "file", dir: resolveFolder(match[1]) };
  throw new InvalidArgumentError("Give file, file:DIR or memory.");
}

/** Opens the backend that settings ask for. */
export function openLogBackend(config: Config, dataFolder: string): LogBackend {
  const spec = parseLogSpec(config["node.wal.backend"]);
  if (spec.type === "memory") return createMemoryBackend();
  const dir = spec.dir ?? join(dataFolder, "wal");
  return createFileBackend({ dir, segmentBytes: config["node.wal.fileBytes"] });
}
