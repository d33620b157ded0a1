/**
 * The command line of `millrace`.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { Command, type Option } from "commander";
import { adminCommand } from "./commands/admin.ts";
import { collectionCommand } from "./commands/collection.ts";
import { configCommand } from "./commands/config.ts";
import { coordCommand } from "./commands/coord.ts";
import { flushCommand } from "./commands/flush.ts";
import { insertCommand } from "./commands/insert.ts";
import { nodeCommand } from "./commands/node.ts";
import { proxyCommand } from "./commands/proxy.ts";
import { standaloneCommand } from "./commands/standalone.ts";
import { statusCommand } from "./commands/status.ts";
import { tailCommand } from "./commands/tail.ts";
import { describeError, exitCodeOf } from "./errors.ts";
import { type Io, Interrupted } from "./io.ts";
import { isOff } from "./options.ts";
import { version } from "./version.ts";

/** All commands. */
export function createProgram(io: Io): Command {
  const program = new Command("millrace")
    .description("durable streaming ingestion: rows in, tailed, in a table")
    .version(version)
    .addCommand(standaloneCommand(io))
    .addCommand(coordCommand(io))
    .addCommand(nodeCommand(io))
    .addCommand(proxyCommand(io))
    .addCommand(configCommand(io))
    .addCommand(collectionCommand(io))
    .addCommand(insertCommand(io))
    .addCommand(flushCommand(io))
    .addCommand(tailCommand(io))
    .addCommand(statusCommand(io))
    .addCommand(adminCommand(io));
  for (const command of allCommands(program)) configure(command, io);
  return program;
}

/** Runs a command line and answers the exit code. Errors become one line on standard error. */
export async function runProgram(args: readonly string[], io: Io): Promise<number> {
  try {
    await createProgram(io).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    const cause = isInterruption(error, io.signal) ? io.signal.reason : error;
    const code = exitCodeOf(cause);
    // Help and the version are printed already; an interruption is no news to who asked for it.
    if (code !== 0 && !(cause instanceof Interrupted)) {
      io.stderr.write(`millrace: ${describeError(cause)}\n`);
    }
    return code;
  }
}

/** Whether an error only says that the run was interrupted. */
function isInterruption(error: unknown, signal: AbortSignal): boolean {
  if (!signal.aborted) return false;
  if (error === signal.reason || MillraceError.is(error, "CANCELLED")) return true;
  return error instanceof Error && error.name === "AbortError";
}

/** The command and all below it. */
export function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

function configure(command: Command, io: Io): void {
  command
    .exitOverride()
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // Errors are written once, by runProgram.
      outputError: () => undefined,
    })
    .hook("preAction", (_program, action) => {
      for (const option of action.options) switchOff(action, option);
    });
}

/** `MILLRACE_JSON=0` turns a flag off, although the parser only looks whether the variable is there. */
function switchOff(command: Command, option: Option): void {
  if (!option.isBoolean() || option.envVar === undefined) return;
  const name = option.attributeName();
  if (command.getOptionValueSource(name) !== "env") return;
  if (isOff(process.env[option.envVar] ?? "")) command.setOptionValue(name, false);
}
