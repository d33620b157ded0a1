/**
 * `millrace node`.
 *
 * @module
 */

import { resolve } from "node:path";
import { createNode } from "@millrace/node";
import { createActiveTransport } from "@millrace/rpc";
import { createTransportPool } from "@millrace/rpc/node";
import { lockFolder } from "@millrace/storage/file";
import { HandlerService, ManagerService } from "@millrace/types/gen";
import { Command } from "commander";
import type { Io } from "../io.ts";
import {
  advertiseFlag,
  coordFlag,
  flag,
  type ListenAddress,
  listenFlag,
  parseDuration,
} from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { readNodeId } from "../wiring/data-folder.ts";
import { type LogSpec, openLogBackend, walFlag } from "../wiring/log-backend.ts";
import { memoryPressure } from "../wiring/memory.ts";
import {
  type ObjectStoreFlags,
  objectStoreFlags,
  openObjectStore,
} from "../wiring/object-store.ts";
import { urlOf, withPort } from "../wiring/own-address.ts";
import { type LogLevel, logLevelFlag, serve, serviceLogger } from "../wiring/serve.ts";

interface NodeFlags extends ObjectStoreFlags {
  listen: ListenAddress;
  advertise?: string;
  coord: string[];
  data: string;
  wal: LogSpec;
  drainFor: number;
  logLevel: LogLevel;
}

/** `millrace node`: a streaming node as a process of its own. */
export function nodeCommand(io: Io): Command {
  const command = new Command("node")
    .description("run a streaming node: it owns logs, serves readers and flushes")
    .addOption(listenFlag("127.0.0.1:8532"))
    .addOption(advertiseFlag())
    .addOption(coordFlag())
    .addOption(flag("--data <dir>", "folder of its own, with its id").default("./millrace-node"))
    .addOption(walFlag());
  for (const option of objectStoreFlags()) command.addOption(option);
  command.addOption(
    flag("--drain-for <duration>", "at the end, how long its logs may take to move to other nodes")
      .argParser(parseDuration)
      .default(10_000, "10s"),
  );
  return command.addOption(logLevelFlag()).action((flags: NodeFlags) => runNode(io, flags));
}

async function runNode(io: Io, flags: NodeFlags): Promise<void> {
  const { clock, random } = io;
  const logger = serviceLogger(io, flags.logLevel);
  const data = resolve(flags.data);
  const listen = await withPort(flags.listen);
  const address = flags.advertise ?? urlOf(listen);
  const closers = createClosers();
  try {
    const lock = await lockFolder(data);
    closers.defer(() => lock.release());
    const nodeId = await readNodeId(data, random);
    const store = closers.add(await openObjectStore(flags, logger));
    const backend = closers.add(openLogBackend(flags.wal, data));
    const { transportFor } = closers.add(createTransportPool());
    const coord = createActiveTransport({ addresses: flags.coord, transportFor, clock });
    const node = createNode({
      ...{ nodeId, address, coord, backend, store, clock, random, logger },
      wal: { throttle: { pressure: memoryPressure } },
      drainMs: flags.drainFor,
    });
    await serve({
      ...{ io, logger },
      address: listen,
      routes: node.routes,
      services: [HandlerService, ManagerService],
      start: () => node.start(),
      // While it still serves: its pchannels move to others.
      drain: () => node.close(),
    });
  } finally {
    await closers.close();
  }
}
