/**
 * `millrace standalone`.
 *
 * @module
 */

import { Command } from "commander";
import type { Io } from "../io.ts";
import { flag, listenFlag, pchannelsFlag } from "../options.ts";
import { walFlag } from "../wiring/log-backend.ts";
import { objectStoreFlags } from "../wiring/object-store.ts";
import { logLevelFlag } from "../wiring/serve.ts";
import { runStandalone, type StandaloneFlags } from "../wiring/standalone.ts";

/** `millrace standalone`: coordinator, node and proxy in one process, on one port. */
export function standaloneCommand(io: Io): Command {
  const command = new Command("standalone")
    .description("run all of Millrace in one process")
    .addOption(listenFlag("127.0.0.1:8530"))
    .addOption(flag("--data <dir>", "folder of its state").default("./millrace-data"))
    .addOption(walFlag())
    .addOption(pchannelsFlag());
  for (const option of objectStoreFlags("file:DATA/store")) command.addOption(option);
  return command
    .addOption(logLevelFlag())
    .action((flags: StandaloneFlags) => runStandalone(io, flags));
}
