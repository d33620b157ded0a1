/**
 * What the commands that run services share.
 *
 * @module
 */

import { createLineLogger } from "@millrace/types/node";
import { Command } from "commander";
import { addConfigFlags, givenByFlags } from "../config/flags.ts";
import { loadConfig } from "../config/load.ts";
import { runConfig } from "../config/running.ts";
import type { ServiceName } from "../config/setting.ts";
import type { Io } from "../io.ts";
import type { ServiceContext } from "../wiring/service-context.ts";

/** A command that runs a service with its settings until `run` ends. */
export function serviceCommand(
  io: Io,
  service: ServiceName,
  description: string,
  run: (context: ServiceContext) => Promise<void>,
): Command {
  const command = addConfigFlags(new Command(service).description(description), service);
  return command.action(async () => {
    const sources = { ...givenByFlags(command, service), env: process.env };
    const { config } = await loadConfig(service, sources);
    const logger = createLineLogger({
      level: () => running.current()["log.level"],
      write: (line) => io.stderr.write(`${line}\n`),
    });
    const { clock, onHangup } = io;
    const running = runConfig({ service, sources, config, onHangup, clock, logger });
    try {
      await run({ io, config, current: running.current, logger });
    } finally {
      await running.close();
    }
  });
}
