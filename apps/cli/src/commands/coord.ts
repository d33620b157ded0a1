/**
 * `millrace coord`.
 *
 * @module
 */

import { createCoord } from "@millrace/coord";
import { createTransportPool } from "@millrace/rpc/node";
import { Command } from "commander";
import type { Io } from "../io.ts";
import { type ListenAddress, listenFlag, pchannelsFlag } from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { isShared, type MetaSpec, metaFlag, openMetaStore } from "../wiring/meta-store.ts";
import {
  coordServices,
  type LogLevel,
  logLevelFlag,
  serve,
  serviceLogger,
} from "../wiring/serve.ts";

interface CoordFlags {
  listen: ListenAddress;
  meta: MetaSpec;
  pchannels: number;
  logLevel: LogLevel;
}

/** `millrace coord`: the coordinator as a process of its own. */
export function coordCommand(io: Io): Command {
  return new Command("coord")
    .description("run the coordinator: placement, ticks, ids and the catalog")
    .addOption(listenFlag("127.0.0.1:8531"))
    .addOption(metaFlag())
    .addOption(pchannelsFlag())
    .addOption(logLevelFlag())
    .action((flags: CoordFlags) => runCoord(io, flags));
}

async function runCoord(io: Io, flags: CoordFlags): Promise<void> {
  const { clock, random } = io;
  const logger = serviceLogger(io, flags.logLevel);
  const closers = createClosers();
  const failed = new AbortController();
  try {
    const meta = closers.add(await openMetaStore(flags.meta, logger));
    const pool = closers.add(createTransportPool());
    const coord = closers.add(
      createCoord({
        meta,
        transportFor: pool.transportFor,
        pchannels: flags.pchannels,
        exclusive: !isShared(flags.meta),
        onFailed: (error) => failed.abort(error),
        ...{ clock, random, logger },
      }),
    );
    await serve({
      ...{ io, logger },
      address: flags.listen,
      routes: coord.routes,
      services: coordServices,
      start: () => coord.start(),
      failed: failed.signal,
    });
  } finally {
    await closers.close();
  }
}
