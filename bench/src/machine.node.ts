/**
 * The machine that is measured on.
 *
 * @module
 */

import { cpus } from "node:os";

/** Answers how many processor cores other processes kept busy, on average, since it was made. */
export function watchOthers(): () => number {
  const startedAt = performance.now();
  const busyBefore = busyMs();
  const ownBefore = ownMs();
  return () => {
    const others = busyMs() - busyBefore - (ownMs() - ownBefore);
    return Math.max(0, others / (performance.now() - startedAt));
  };
}

/** A line that says what was measured on, and how undisturbed it was. */
export function describeMachine(others: number): string {
  const all = cpus();
  const disturbed = `other processes kept ${others.toFixed(1)} of them busy meanwhile`;
  return `${all.length} cores of ${all[0]?.model.trim()}, Node ${process.versions.node}; ${disturbed}.`;
}

function busyMs(): number {
  return cpus().reduce(
    (sum, { times }) => sum + times.user + times.nice + times.sys + times.irq,
    0,
  );
}

function ownMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
