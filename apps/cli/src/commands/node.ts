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
import type { Command } from "commander";
import type { Io } from "../io.ts";
import { parseListenAddress } from "../options.ts";
import { createClosers } from "../wiring/closers.ts";
import { readNodeId } from "../wiring/data-folder.ts";
import { openLogBackend } from "../wiring/log-backend.ts";
import { openObjectStore, s3AccessOf } from "../wiring/object-store.ts";
import { urlOf, withPort } from "../wiring/own-address.ts";
import { serve } from "../wiring/serve.ts";
import type { ServiceContext } from "../wiring/service-context.ts";
import { nodeOptionsOf } from "../wiring/service-options.ts";
import { serviceCommand } from "./service.ts";

/** `millrace node`: a streaming node as a process of its own. */
export function nodeCommand(io: Io): Command {
  const description = "run a streaming node: it owns logs, serves readers and flushes";
  return serviceCommand(io, "node", description, runNode);
}

async function runNode({ io, config, current, logger }: ServiceContext): Promise<void> {
  const { clock, random } = io;
  const data = resolve(config["node.data"]);
  const listen = await withPort(parseListenAddress(config["node.listen"]));
  const address = config["node.advertise"] ?? urlOf(listen);
  const closers = createClosers();
  try {
    const lock = await lockFolder(data);
    closers.defer(() => lock.release());
    const nodeId = await readNodeId(data, random);
    const access = { s3: s3AccessOf(config), logger };
    const store = closers.add(await openObjectStore(config.store ?? "", access));
    const backend = closers.add(openLogBackend(config, data));
    const { transportFor } = closers.add(createTransportPool());
    const coord = createActiveTransport({ addresses: config.coordinators, transportFor, clock });
    const node = createNode({
      ...nodeOptionsOf(current),
      ...{ nodeId, address, coord, backend, store, clock, random, logger },
      drainMs: config["node.drainFor"],
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
