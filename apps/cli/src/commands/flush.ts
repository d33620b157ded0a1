/**
 * `millrace flush`.
 *
 * @module
 */

import { delay, tickToMs } from "@millrace/types";
import type { GetFlushStateResponse, VchannelPosition } from "@millrace/types/gen";
import type { Command } from "commander";
import { explainCallError, retrying } from "../client.ts";
import { describeError } from "../errors.ts";
import type { Io } from "../io.ts";
import { flag, parseDuration } from "../options.ts";
import { write, writeJson } from "../output.ts";
import { type ClientFlags, callOptions, clientCommand, withClient } from "./context.ts";

/** How often the state is asked for. */
const pollMs = 100;

interface FlushFlags extends ClientFlags {
  retryFor: number;
}

/** `millrace flush NAME`: waits until all rows acknowledged before are in the table. */
export function flushCommand(io: Io): Command {
  return clientCommand("flush", "bring all rows into the table, and wait until they are there")
    .argument("<name>", "the collection")
    .addOption(
      flag("--retry-for <duration>", "how long to wait for a server that is away")
        .argParser(parseDuration)
        .default(60_000, "60s"),
    )
    .action((name: string, flags: FlushFlags) => flush(io, name, flags));
}

async function flush(io: Io, collection: string, flags: FlushFlags): Promise<void> {
  const { clock, random, signal } = io;
  const started = clock.monotonic();
  await withClient(flags.server, async ({ proxy, server }) => {
    // Asking comes first: a server that is not there is told at once.
    const { positions } = await proxy.flush({ collection }, callOptions(io));
    const note = createNotes(io);
    const retry = {
      ...{ clock, random, signal, retryForMs: flags.retryFor },
      onRetry: (error: unknown) => note(describeError(explainCallError(error, server))),
    };
    while (true) {
      const state = await retrying(
        () => proxy.getFlushState({ collection, positions }, callOptions(io)),
        retry,
      );
      if (state.flushed) return;
      note(state.problem === "" ? remaining(state, positions) : state.problem);
      await delay(clock, pollMs, signal);
    }
  });
  const seconds = (clock.monotonic() - started) / 1000;
  if (flags.json) await writeJson(io.stdout, { collection, flushed: true, seconds });
  else await write(io.stdout, `flushed ${collection} in ${seconds.toFixed(1)} s\n`);
}

/** How many shards are not there yet, and how far behind the last of them is. */
function remaining(state: GetFlushStateResponse, positions: readonly VchannelPosition[]): string {
  const reached = new Map(state.checkpoints.map(({ vchannel, tick }) => [vchannel, tick]));
  const behind = positions.filter(({ vchannel, tick }) => (reached.get(vchannel) ?? 0n) < tick);
  const lags = behind.map(({ vchannel, tick }) => {
    const at = reached.get(vchannel);
    return at ? tickToMs(tick) - tickToMs(at) : 0;
  });
  const lag = Math.max(0, ...lags);
  const shards = `${behind.length} of ${positions.length} shards to flush`;
  return lag === 0 ? shards : `${shards}, ${(lag / 1000).toFixed(1)} s behind`;
}

/** Writes what changed to standard error, at most once a second for the same kind of news. */
function createNotes(io: Io): (text: string) => void {
  let last = "";
  let lastAt = Number.NEGATIVE_INFINITY;
  return (text) => {
    const now = io.clock.monotonic();
    if (text === last || now - lastAt < 1000) return;
    last = text;
    lastAt = now;
    io.stderr.write(`${text}\n`);
  };
}
