/**
 * `npm run bench -- SUITE`: measures, prints a table, and writes bench/results/SUITE.json.
 *
 * @module
 */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeMachine, watchOthers } from "./machine.node.ts";
import { type Measurement, rowsOf, tableOf } from "./report.ts";
import type { Suite } from "./suite.ts";
import { walSuite } from "./wal/mod.ts";

const suites: Record<string, Suite> = { wal: walSuite };
const usage = `npm run bench -- SUITE [options]

Suites: ${Object.keys(suites).join(", ")}

  --only TEXT      only the parts whose name contains it
  --rounds N       how often all are measured in turn (default 5)
  --ms N           how long a run of throughput takes (default 700)
  --appends N      how many appends the heap is watched over (default 3000000)
  --dir FOLDER     where to write (default: the folder for temporary files)
  --quick          see that everything runs; the figures mean nothing`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: "" },
    rounds: { type: "string" },
    ms: { type: "string" },
    appends: { type: "string" },
    dir: { type: "string", default: tmpdir() },
    quick: { type: "boolean", default: false },
  },
});
const [name = ""] = positionals;
const suite = suites[name];
if (!suite) {
  console.error(usage);
  process.exit(2);
}

const { quick } = values;
const dir = await mkdtemp(join(values.dir, "millrace-bench-"));
const measurements: Measurement[] = [];
const others = watchOthers();
try {
  const options = {
    dir,
    quick,
    only: values.only,
    rounds: Number(values.rounds ?? (quick ? 1 : 5)),
    ms: Number(values.ms ?? (quick ? 50 : 700)),
    appends: Number(values.appends ?? (quick ? 50_000 : 3_000_000)),
  };
  for await (const measurement of suite(options)) {
    console.error(tableOf([measurement]).split("\n").at(-1));
    measurements.push(measurement);
  }
} finally {
  await rm(dir, { recursive: true, force: true });
}
console.log(`${tableOf(measurements)}\n\n${describeMachine(others())}`);
const results = new URL("../results/", import.meta.url);
await mkdir(results, { recursive: true });
const rows = measurements.flatMap(rowsOf);
await writeFile(new URL(`${name}.json`, results), `${JSON.stringify(rows, undefined, 2)}\n`);
