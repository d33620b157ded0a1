/**
 * What the commands of a client share.
 *
 * @module
 */

import { Command } from "commander";
import { connect, explainCallError, type MillraceClient } from "../client.ts";
import type { Io } from "../io.ts";
import { jsonFlag, serverFlag } from "../options.ts";

/** Flags that every command of a client has. */
export interface ClientFlags {
  server: string;
  json?: boolean;
}

/** A command with the flags of a client. */
export function clientCommand(name: string, description: string): Command {
  return new Command(name).description(description).addOption(serverFlag()).addOption(jsonFlag());
}

/** Runs `task` with clients of the server; errors of the network name its address. */
export async function withClient<T>(
  server: string,
  task: (client: MillraceClient) => Promise<T>,
): Promise<T> {
  const client = connect(server);
  try {
    return await task(client);
  } catch (error) {
    throw explainCallError(error, server);
  } finally {
    client.close();
  }
}

/** Options of a call: a limit of time, and the end of the run. */
export function callOptions(io: Io): { timeoutMs: number; signal: AbortSignal } {
  return { timeoutMs: 30_000, signal: io.signal };
}
