/**
 * `millrace tail`.
 *
 * @module
 */

import { backoffDelay, columnsToRows, delay, MillraceError } from "@millrace/types";
import { MessageType, TailFrom, type TailMessage, type TailPosition } from "@millrace/types/gen";
import { type Command, Option } from "commander";
import { explainCallError, isPassing, type MillraceClient } from "../client.ts";
import { describeError } from "../errors.ts";
import type { Io } from "../io.ts";
import { environmentName, flag, parseDuration } from "../options.ts";
import { write } from "../output.ts";
import { type ClientFlags, clientCommand, withClient } from "./context.ts";

interface TailFlags extends ClientFlags {
  from: "earliest" | "latest";
  retryFor: number;
}

/** `millrace tail NAME`: rows as NDJSON on standard output, until it is interrupted. */
export function tailCommand(io: Io): Command {
  const from = new Option("--from <place>", "where to begin");
  return clientCommand("tail", "print rows as they arrive, one JSON object a line")
    .argument("<name>", "the collection")
    .addOption(from.env(environmentName(from)).choices(["earliest", "latest"]).default("latest"))
    .addOption(
      flag("--retry-for <duration>", "how long to wait for a server that is away")
        .argParser(parseDuration)
        .default(60_000, "60s"),
    )
    .action((name: string, flags: TailFlags) =>
      withClient(flags.server, (client) => tail(io, client, name, flags)),
    );
}

/** Ends without an error when the run is interrupted. */
async function tail(
  io: Io,
  client: MillraceClient,
  collection: string,
  flags: TailFlags,
): Promise<void> {
  const { clock, random, signal } = io;
  const reader = createTailReader(io, client, collection, flags.from);
  let attempt = 0;
  let lastContact = clock.monotonic();
  while (!signal.aborted) {
    try {
      await reader.read(() => {
        attempt = 0;
        lastContact = clock.monotonic();
      });
    } catch (error) {
      if (signal.aborted) return;
      const left = lastContact + flags.retryFor - clock.monotonic();
      const passing = MillraceError.is(error) && isPassing(error);
      if (!passing || !reader.connected() || left <= 0) throw error;
      if (attempt === 0) {
        const problem = describeError(explainCallError(error, client.server));
        io.stderr.write(`millrace: connecting again: ${problem}\n`);
      }
    }
    const pause = backoffDelay(attempt++, random, { initialMs: 50, maxMs: 1000 });
    await delay(clock, pause, signal).catch(() => undefined);
  }
}

interface TailReader {
  /** Prints what comes until the stream ends. `onContact` is called for everything that comes. */
  read(onContact: () => void): Promise<void>;
  /** The server was reached at least once. */
  connected(): boolean;
}

function createTailReader(
  io: Io,
  client: MillraceClient,
  collection: string,
  place: "earliest" | "latest",
): TailReader {
  const from = place === "earliest" ? TailFrom.EARLIEST : TailFrom.LATEST;
  const positions = new Map<string, TailPosition>();
  let connected = false;
  return {
    connected: () => connected,
    async read(onContact) {
      const request = { collection, from, positions: [...positions.values()] };
      for await (const { event } of client.proxy.tail(request, { signal: io.signal })) {
        connected = true;
        onContact();
        if (event.case === "heartbeat") {
          for (const position of event.value.positions) positions.set(position.vchannel, position);
        }
        if (event.case !== "message") continue;
        await write(io.stdout, formatMessage(event.value), io.signal);
        const { position } = event.value;
        // After the rows are out: what breaks here is printed again rather than lost.
        if (position) positions.set(position.vchannel, position);
      }
    },
  };
}

/** Rows a line each; a deletion as `{"$delete": {primary key}}`; other messages as nothing. */
function formatMessage(message: TailMessage): string {
  if (!message.columns) return "";
  const rows = columnsToRows(message.columns);
  const isDelete = message.type === MessageType.DELETE;
  return rows.map((row) => `${JSON.stringify(isDelete ? { $delete: row } : row)}\n`).join("");
}
