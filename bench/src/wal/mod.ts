/**
 * The WAL on its own, in one process, against raw writes and embedded stores.
 *
 * @module
 */

import type { Suite } from "../suite.ts";
import { measureAppends } from "./append.node.ts";
import { measureFresh } from "./fresh.node.ts";
import { measureHeap } from "./heap.node.ts";
import { measureKeys } from "./keys.node.ts";
import { measureLatency } from "./latency.node.ts";
import { measureOpen } from "./open.node.ts";
import { measureScan } from "./scan.node.ts";

const parts: Record<string, Suite> = {
  append: measureAppends,
  fresh: measureFresh,
  keys: measureKeys,
  latency: measureLatency,
  scan: measureScan,
  open: measureOpen,
  heap: measureHeap,
};

/** All parts, one after the other. */
export const walSuite: Suite = async function* (options) {
  for (const [name, measure] of Object.entries(parts)) {
    if (name.includes(options.only)) yield* measure(options);
  }
};
