/**
 * Two coordinators, of which the one that leads is killed and the next one is paused, under inserts and
 * changes of the catalog.
 *
 * @module
 */

import { expect } from "vitest";
import { call, callUntilDone } from "./client.ts";
import { type Cluster, type ClusterOptions, startProcesses } from "./cluster.ts";
import { tailRows } from "./tail.ts";

const batchRows = 50;
const schema = {
  fields: [
    { name: "id", type: "DATA_TYPE_INT64", primaryKey: true, autoId: true },
    { name: "n", type: "DATA_TYPE_INT64" },
  ],
};

/** When something succeeded, on the monotonic clock. */
type Successes = number[];

/** How long it took from `since` to the first success after it, in milliseconds. */
function firstAfter(successes: Successes, since: number): number {
  const first = successes.find((time) => time > since);
  return first === undefined ? Number.POSITIVE_INFINITY : Math.round(first - since);
}

async function until(what: string, so: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!so()) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Writes and changes the catalog until it is told to stop. */
function startLoad(cluster: Cluster) {
  const inserts: Successes = [];
  const changes: Successes = [];
  let stopping = false;
  const write = async (): Promise<void> => {
    for (let batch = 0; !stopping; batch++) {
      const rows = Array.from({ length: batchRows }, (_, i) => ({ n: batch * batchRows + i }));
      const idempotencyKey = `batch/${batch}`;
      await callUntilDone(cluster.url, "Insert", { collection: "events", rows, idempotencyKey });
      inserts.push(performance.now());
    }
  };
  const change = async (): Promise<void> => {
    for (let i = 0; !stopping; i++) {
      await callUntilDone(cluster.url, "CreateCollection", { name: `c_${i}`, shards: 2, schema });
      changes.push(performance.now());
    }
  };
  const over = Promise.all([write(), change()]);
  return {
    inserts,
    changes,
    async stop() {
      stopping = true;
      await over;
    },
  };
}

/** Goes through both, and expects that nothing is lost, doubled or stuck. */
export async function expectFailover(options: ClusterOptions): Promise<void> {
  const cluster = await startProcesses({ ...options, coordinators: 2 });
  try {
    await call(cluster.url, "CreateCollection", { name: "events", shards: 4, schema });
    const { inserts, changes, stop } = startLoad(cluster);
    const more = async (when: string): Promise<void> => {
      const [before, changesBefore] = [inserts.length, changes.length];
      await until(`more inserts and changes ${when}`, () => {
        return inserts.length > before + 10 && changes.length > changesBefore + 5;
      });
    };
    const measured: [what: string, inserts: number, changes: number][] = [];
    const measure = async (what: string): Promise<void> => {
      // What had been done already may be answered a moment later.
      const since = performance.now() + 100;
      await until(`an insert and a change after ${what}`, () =>
        [inserts, changes].every((successes) => Number.isFinite(firstAfter(successes, since))),
      );
      measured.push([what, firstAfter(inserts, since) + 100, firstAfter(changes, since) + 100]);
    };

    await more("at first");
    await cluster.services[0]?.kill();
    await measure("a kill");
    await cluster.restart(0);
    await more("with the killed one back");

    // The second one leads. It is stopped for longer than its lease, and goes on as if it led.
    cluster.services[1]?.child.kill("SIGSTOP");
    await measure("a pause");
    cluster.services[1]?.child.kill("SIGCONT");
    await more("with the paused one back");
    await stop();

    const all = inserts.length * batchRows;
    const tailed = await tailRows(cluster.url, "events", all);
    expect(new Set(tailed.map((row) => row.n)).size).toBe(all);
    expect(new Set(tailed.map((row) => row.id)).size).toBe(all);
    const { collections } = await call(cluster.url, "ListCollections", {});
    const listed = collections as { name: string; vchannels: string[] }[];
    expect(listed.length).toBe(changes.length + 1);
    expect(new Set(listed.map(({ name }) => name)).size).toBe(listed.length);
    const vchannels = listed.flatMap((collection) => collection.vchannels);
    expect(new Set(vchannels).size).toBe(vchannels.length);
    // A lease of 5 s and a little to notice; the rest is for machines that are busy.
    for (const [what, insert, change] of measured) {
      expect(Math.max(insert, change), `ms after ${what}: ${insert}, ${change}`).toBeLessThan(
        15_000,
      );
    }
    if (process.env.MILLRACE_TEST_FIGURES) process.stderr.write(`${JSON.stringify(measured)}\n`);
  } finally {
    const codes = await cluster.stop();
    expect(codes).toEqual(codes.map(() => 0));
  }
}
