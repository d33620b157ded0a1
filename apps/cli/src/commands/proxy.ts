/**
 * `millrace proxy`.
 *
 * @module
 */

import { createProxy, proxyServices } from "@millrace/proxy";
import { createActiveTransport } from "@millrace/rpc";
import { createTransportPool } from "@millrace/rpc/node";
import type { Command } from "commander";
import type { Io } from "../io.ts";
import { parseListenAddress } from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { serve } from "../wiring/serve.ts";
import type { ServiceContext } from "../wiring/service-context.ts";
import { proxyOptionsOf } from "../wiring/service-options.ts";
import { serviceCommand } from "./service.ts";

/** `millrace proxy`: a proxy as a process of its own. */
export function proxyCommand(io: Io): Command {
  return serviceCommand(io, "proxy", "run a proxy: what clients call", runProxy);
}

async function runProxy({ io, config, current, logger }: ServiceContext): Promise<void> {
  const { clock, random } = io;
  const closers = createClosers();
  try {
    const { transportFor } = closers.add(createTransportPool());
    const coord = createActiveTransport({ addresses: config.coordinators, transportFor, clock });
    const shared = { transportFor, clock, random, logger };
    const proxy = closers.add(createProxy({ ...proxyOptionsOf(current), coord, ...shared }));
    await serve({
      ...{ io, logger, origins: config["http.origins"] },
      address: parseListenAddress(config["proxy.listen"]),
      routes: proxy.routes,
      services: proxyServices,
      start: () => proxy.start(),
    });
  } finally {
    await closers.close();
  }
}
