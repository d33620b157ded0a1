/**
 * `millrace standalone`.
 *
 * @module
 */

import type { Command } from "commander";
import type { Io } from "../io.ts";
import { runStandalone } from "../wiring/standalone.ts";
import { serviceCommand } from "./service.ts";

/** `millrace standalone`: coordinator, node and proxy in one process, on one port. */
export function standaloneCommand(io: Io): Command {
  return serviceCommand(io, "standalone", "run all of Millrace in one process", runStandalone);
}
