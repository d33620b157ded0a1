/**
 * `millrace coord`.
 *
 * @module
 */

import { createCoord } from "@millrace/coord";
import { createTransportPool } from "@millrace/rpc/node";
import type { Command } from "commander";
import { isShared, parseMetaSpec } from "../config/locations.ts";
import type { Io } from "../io.ts";
import { parseListenAddress } from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { etcdAccessOf, openMetaStore } from "../wiring/meta-store.ts";
import { s3AccessOf } from "../wiring/object-store.ts";
import { localUrlOf, urlOf, withPort } from "../wiring/own-address.ts";
import { coordServices, serve } from "../wiring/serve.ts";
import type { ServiceContext } from "../wiring/service-context.ts";
import { coordOptionsOf } from "../wiring/service-options.ts";
import { serviceCommand } from "./service.ts";

/** `millrace coord`: the coordinator as a process of its own. */
export function coordCommand(io: Io): Command {
  const description =
    "run a coordinator: placement, ticks, ids, the catalog; one leads, others stand by";
  return serviceCommand(io, "coord", description, runCoord);
}

async function runCoord({ io, config, current, logger }: ServiceContext): Promise<void> {
  const { clock, random } = io;
  const listen = await withPort(parseListenAddress(config["coord.listen"]));
  const spec = parseMetaSpec(config["coord.meta"]);
  const isOneOfMany = isShared(spec);
  // Alone it need not be told to anyone.
  const ownUrl = isOneOfMany ? urlOf : localUrlOf;
  const address = config["coord.advertise"] ?? ownUrl(listen);
  const closers = createClosers();
  const failed = new AbortController();
  try {
    const access = { s3: s3AccessOf(config), etcd: etcdAccessOf(config) };
    const meta = closers.add(await openMetaStore(spec, { logger, ...access }));
    const pool = closers.add(createTransportPool());
    const coord = closers.add(
      createCoord({
        ...coordOptionsOf(current),
        meta,
        transportFor: pool.transportFor,
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
