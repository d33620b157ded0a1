/**
 * A process that owns logs of a folder it shares with others: `shared-owner.node.ts DIR`. Each line of
 * its input is a pchannel and a term: it opens that log, reads it from where the owner before it kept
 * that it was, and appends to it until another owner follows. It prints what was acknowledged:
 * pchannel, sequence, name.
 */

import { createInterface } from "node:readline";
import { crc32 } from "node:zlib";
import { MillraceError } from "@millrace/types";
import { createFileBackend } from "../src/backends/file.node.ts";
import { encodeBatch } from "../src/encode.ts";
import type { Log } from "../src/log.ts";
import { text } from "./helpers.ts";

const [dir = ""] = process.argv.slice(2);
const backend = createFileBackend({ dir, segmentBytes: 16 * 1024 });

/** What is kept: how far it was known, and the checksum of the batch before. */
interface Known {
  sequence: number;
  checksum: number;
}

async function replay(log: Log): Promise<Known> {
  const known: Known = log.kept
    ? JSON.parse(new TextDecoder().decode(log.kept))
    : { sequence: 0, checksum: 0 };
  for await (const batch of log.read(known.sequence)) {
    if (batch.previousChecksum !== known.checksum) throw new Error("another history");
    known.checksum = batch.checksum;
    known.sequence = batch.sequence + 1;
  }
  if (known.sequence !== log.bounds().next) throw new Error("something is missing");
  return known;
}

async function own(pchannel: string, term: number): Promise<void> {
  const log = await backend.open(pchannel, term);
  try {
    const known = await replay(log);
    for (let i = 0; ; i++) {
      const { sequence, checksum } = known;
      const name = `${term}/${i}`;
      const input = {
        term,
        sequence,
        firstTick: BigInt(sequence + 1),
        previousChecksum: checksum,
        appends: [{ messages: [text(name.padEnd(i % 500, "."))] }],
      };
      const batch = encodeBatch(input, { crc32 });
      await log.append(batch);
      process.stdout.write(`${pchannel} ${sequence} ${name}\n`);
      known.sequence++;
      known.checksum = batch.checksum;
      if (i % 20 !== 19) continue;
      await log.keep?.(new TextEncoder().encode(JSON.stringify(known)));
      await log.truncate(sequence - 100);
    }
  } finally {
    await log.close();
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const [pchannel = "", term = "0"] = line.split(" ");
  own(pchannel, Number(term)).catch((error) => {
    if (MillraceError.is(error, "CHANNEL_FENCED")) return;
    process.stderr.write(`${pchannel} ${term}: ${error.stack}\n`);
    process.exit(1);
  });
});
