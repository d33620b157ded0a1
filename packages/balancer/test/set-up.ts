import { createMemoryMetaStore } from "@millrace/storage";
import type { Logger } from "@millrace/types";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { type Balancer, type BalancerOptions, createBalancer, pchannelFair } from "../src/mod.ts";
import { createWorld, flaky } from "./world.ts";

/** What a balancer moves unless it is told otherwise. */
export const pchannels = Array.from({ length: 6 }, (_, i) => `p-${i}`);

/** A store, nodes and a virtual clock, and a way to start balancers on them one after the other. */
export async function setUp(seed = 1, options: Partial<BalancerOptions> = {}) {
  const clock = createVirtualClock();
  const random = createSeededRandom(seed);
  const meta = flaky(createMemoryMetaStore({ clock }), random);
  const lines: string[] = [];
  const log = (message: string, fields?: Record<string, unknown>): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`);
  };
  const logger: Logger = { debug: log, info: log, warn: log, error: log };
  const started: Balancer[] = [];
  const world = createWorld(clock, random, () => {
    for (const balancer of started) balancer.trigger();
  });
  const start = async (more: Partial<BalancerOptions> = {}): Promise<Balancer> => {
    const created = createBalancer({
      meta,
      pchannels,
      policies: [pchannelFair()],
      nodes: world.nodes,
      calls: world.calls,
      clock,
      random,
      logger,
      ...options,
      ...more,
    });
    await created.load();
    created.start();
    started.push(created);
    return created;
  };
  return { clock, meta, world, start, lines };
}
