/**
 * The backend of the write-ahead log that settings ask for.
 *
 * @module
 */

import { join } from "node:path";
import { createMemoryBackend, type LogBackend } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";
import { parseLogSpec } from "../config/locations.ts";
import type { Config } from "../config/schema/mod.ts";

/** Opens the backend that settings ask for. */
export function openLogBackend(config: Config, dataFolder: string): LogBackend {
  const spec = parseLogSpec(config["node.wal.backend"]);
  if (spec.type === "memory") return createMemoryBackend();
  const dir = spec.dir ?? join(dataFolder, "wal");
  return createFileBackend({ dir, segmentBytes: config["node.wal.fileBytes"] });
}
