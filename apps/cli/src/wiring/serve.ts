/**
 * The life of a service: listen, start, say that it is ready, serve, drain.
 *
 * @module
 */

import type { DescService } from "@bufbuild/protobuf";
import { createApp, type Routes, withHealthAndReflection } from "@millrace/rpc";
import { listen } from "@millrace/rpc/node";
import type { Logger } from "@millrace/types";
import {
  AdminService,
  AllocatorService,
  AssignmentService,
  CatalogService,
  MembershipService,
} from "@millrace/types/gen";
import type { Io } from "../io.ts";
import type { ListenAddress } from "../options.ts";
import { write } from "../output.ts";

/** The services of a coordinator. */
export const coordServices: readonly DescService[] = [
  AssignmentService,
  MembershipService,
  CatalogService,
  AllocatorService,
  AdminService,
];

/** Options of {@linkcode serve}. */
export interface ServeOptions {
  io: Io;
  address: ListenAddress;
  routes: Routes;
  /** What the routes answer, for health and reflection. */
  services: readonly DescService[];
  /** Origins whose pages may call. Default: none. */
  origins?: readonly string[];
  logger: Logger;
  /** Called when the port is open, with the URL it has; the service is ready when it resolves. */
  start: (url: string) => Promise<void>;
  /** Called when it is to end and still serves. */
  drain?: () => Promise<void>;
  /** Aborted, with an error, when the service cannot go on. */
  failed?: AbortSignal;
}

/**
 * Serves until the run is interrupted, then lets calls under way finish. Rejects if the port cannot be
 * opened, if the start fails, or with the error of `failed`.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const { io, address, services, logger, start } = options;
  let serving = false;
  const health = { serving: () => serving, clock: io.clock };
  const routes = withHealthAndReflection(options.routes, services, health);
  const app = createApp({ routes, logger });
  const origins = options.origins ?? [];
  const listener = await listen({ routes, app, ...address, origins, logger });
  const failed = options.failed ?? new AbortController().signal;
  const end = AbortSignal.any([io.signal, failed]);
  const ended = new Promise<void>((resolve) => {
    end.addEventListener("abort", () => resolve(), { once: true });
  });
  try {
    await Promise.race([start(listener.url), ended]);
    if (!end.aborted) {
      serving = true;
      await write(io.stdout, `millrace: ready on ${listener.url}\n`);
      await ended;
    }
  } finally {
    serving = false;
    await options.drain?.().finally(() => listener.close());
    await listener.close();
  }
  if (failed.aborted) throw failed.reason;
}
