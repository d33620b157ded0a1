/**
 * How close this process is to the memory it may have.
 *
 * @module
 */

import { totalmem } from "node:os";

/** The share of the memory that this process, or its control group, may have: 0 to 1. */
export function memoryPressure(): number {
  const limit = process.constrainedMemory();
  const total = totalmem();
  // Without a limit the kernel answers a number beyond all memory, or 0.
  return process.memoryUsage.rss() / (limit > 0 && limit < total ? limit : total);
}
