/**
 * A process that appends as fast as it can and prints what was acknowledged:
 * `durable-writer.node.ts DIR TERM`.
 */

import { MillraceError } from "@millrace/types";
import { createFileBackend } from "../src/backends/file.node.ts";
import { openWal } from "../src/mod.ts";
import { countingTicks, text } from "./helpers.ts";

const [dir = "", term = "1"] = process.argv.slice(2);
const wal = await openWal({
  backend: createFileBackend({ dir, segmentBytes: 64 * 1024 }),
  pchannel: "p",
  term: Number(term),
  ticks: countingTicks(),
  vchannels: "any",
});

async function write(writer: number): Promise<void> {
  for (let i = 0; ; i++) {
    const name = `${term}/${writer}/${i}`;
    await wal.append([text(name.padEnd(i % 500, "."))], { idempotencyKey: name });
    process.stdout.write(`${name}\n`);
  }
}

try {
  await Promise.all(Array.from({ length: 20 }, (_, writer) => write(writer)));
} catch (error) {
  process.exitCode = MillraceError.is(error, "CHANNEL_FENCED") ? 3 : 1;
}
