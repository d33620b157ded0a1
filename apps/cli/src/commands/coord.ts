/**
 * `millrace coord`.
 *
 * @module
 */

import { createCoord } from "@millrace/coord";
import { createTransportPool } from "@millrace/rpc/node";
import { Command } from "commander";
import type { Io } from "../io.ts";
import { advertiseFlag, type ListenAddress, listenFlag, pchannelsFlag } from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { isShared, type MetaSpec, metaFlag, openMetaStore } from "../wiring/meta-store.ts";
import { type S3Flags, s3Flags } from "../wiring/object-store.ts";
import { localUrlOf, urlOf, withPort } from "../wiring/own-address.ts";
import {
  coordServices,
  type LogLevel,
  logLevelFlag,
  serve,
  serviceLogger,
} from "../wiring/serve.ts";

interface CoordFlags extends S3Flags {
  listen: ListenAddress;
  advertise?: string;
  meta: MetaSpec;
  pchannels: number;
  logLevel: LogLevel;
}

/** `millrace coord`: the coordinator as a process of its own. */
export function coordCommand(io: Io): Command {
  const command = new Command("coord")
    .description(
      "run a coordinator: placement, ticks, ids, the catalog; one leads, others stand by",
    )
    .addOption(listenFlag("127.0.0.1:8531"))
    .addOption(advertiseFlag())
    .addOption(metaFlag());
  for (const option of s3Flags()) command.addOption(option);
  return command
    .addOption(pchannelsFlag())
    .addOption(logLevelFlag())
    .action((flags: CoordFlags) => runCoord(io, flags));
}

async function runCoord(io: Io, flags: CoordFlags): Promise<void> {
  const { clock, random } = io;
  const logger = serviceLogger(io, flags.logLevel);
  const listen = await withPort(flags.listen);
  const isOneOfMany = isShared(flags.meta);
  // Alone it need not be told to anyone.
  const address = flags.advertise ?? (isOneOfMany ? urlOf(listen) : localUrlOf(listen));
  const closers = createClosers();
  const failed = new AbortController();
  try {
    const meta = closers.add(await openMetaStore(flags.meta, { logger, s3: flags }));
    const pool = closers.add(createTransportPool());
    const coord = closers.add(
      createCoord({
        meta,
        transportFor: pool.transportFor,
        pchannels: flags.pchannels,
        address,
        exclusive: !isOneOfMany,
        onFailed: (error) => failed.abort(error),
        ...{ clock, random, logger },
      }),
    );
    await serve({
      ...{ io, logger },
      address: listen,
      routes: coord.routes,
      services: coordServices,
      start: () => coord.start(),
      failed: failed.signal,
    });
  } finally {
    await closers.close();
  }
}
