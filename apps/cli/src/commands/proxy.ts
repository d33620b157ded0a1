/**
 * `millrace proxy`.
 *
 * @module
 */

import { createProxy, proxyServices } from "@millrace/proxy";
import { createActiveTransport } from "@millrace/rpc";
import { createTransportPool } from "@millrace/rpc/node";
import { Command } from "commander";
import type { Io } from "../io.ts";
import { coordFlag, type ListenAddress, listenFlag } from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { type LogLevel, logLevelFlag, serve, serviceLogger } from "../wiring/serve.ts";

interface ProxyFlags {
  listen: ListenAddress;
  coord: string[];
  logLevel: LogLevel;
}

/** `millrace proxy`: a proxy as a process of its own. */
export function proxyCommand(io: Io): Command {
  return new Command("proxy")
    .description("run a proxy: what clients call")
    .addOption(listenFlag("127.0.0.1:8530"))
    .addOption(coordFlag())
    .addOption(logLevelFlag())
    .action((flags: ProxyFlags) => runProxy(io, flags));
}

async function runProxy(io: Io, flags: ProxyFlags): Promise<void> {
  const { clock, random } = io;
  const logger = serviceLogger(io, flags.logLevel);
  const closers = createClosers();
  try {
    const { transportFor } = closers.add(createTransportPool());
    const coord = createActiveTransport({ addresses: flags.coord, transportFor, clock });
    const proxy = closers.add(createProxy({ coord, transportFor, clock, random, logger }));
    await serve({
      ...{ io, logger },
      address: flags.listen,
      routes: proxy.routes,
      services: proxyServices,
      start: () => proxy.start(),
    });
  } finally {
    await closers.close();
  }
}
