/**
 * A process that appends to a log under load and prints what it asked for and what was answered, line
 * by line, until it is killed or fenced, or standard input ends. It begins when a line with its
 * {@linkcode WriterOrder} comes there.
 *
 * Lines: `opened FIRST NEXT` · `submit NAME` · `ack NAME SEQUENCE INDEX new|again` · `end CODE: MESSAGE`.
 */

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { MillraceError } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { openWal } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";
import { nameOf } from "./content.ts";
import { writeAndRollBack, writeNamed } from "./write-named.ts";

/** What a writer is told to do. */
export interface WriterOrder {
  dir: string;
  term: number;
  seed: number;
  /** Begins the names of its groups. */
  prefix: string;
  /** Appends of former writers without an answer: to be made again before anything else. */
  again: string[];
  /** Truncates before this sequence in the middle of the load; 0: does not. */
  truncate: number;
}

const appenders = 16;
const pause = new Int32Array(new SharedArrayBuffer(4));

const lines = createInterface({ input: process.stdin });
const order: WriterOrder = await new Promise((resolve) => {
  lines.once("line", (line) => resolve(JSON.parse(line) as WriterOrder));
});
lines.once("close", () => process.exit());
const random = createSeededRandom(order.seed);

function say(...words: (string | number)[]): void {
  const line = Buffer.from(`${words.join(" ")}\n`);
  // The reader has it before the call returns, and not a queue that would die with this process.
  for (let sent = 0; sent < line.length; ) sent += trySend(line.subarray(sent));
}

function trySend(bytes: Uint8Array): number {
  try {
    return writeSync(1, bytes);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    // The pipe is full: the reader gets a millisecond.
    Atomics.wait(pause, 0, 0, 1);
    return 0;
  }
}

function sizeOf(): number {
  const dice = random.next();
  if (dice < 0.8) return Math.floor(random.next() * 300);
  if (dice < 0.98) return Math.floor(random.next() * 10_000);
  return Math.floor(random.next() * 300_000);
}

async function run(): Promise<void> {
  let tick = 0n;
  const wal = await openWal({
    backend: createFileBackend({ dir: order.dir, segmentBytes: 256 * 1024 }),
    pchannel: "p",
    term: order.term,
    vchannels: "any",
    ticks: {
      take(count, after = 0n) {
        const first = (after > tick ? after : tick) + 1n;
        tick = first + BigInt(count) - 1n;
        return { first, count };
      },
    },
  });
  const { first, next } = wal.bounds();
  say("opened", first, next);

  async function append(name: string): Promise<void> {
    say("submit", name);
    const { id, duplicate } = await writeNamed(wal, name);
    say("ack", name, id.sequence, id.index, duplicate ? "again" : "new");
  }

  async function load(appender: number): Promise<void> {
    const group = `${order.prefix}.${appender % 4 === 1 ? "t" : "g"}${appender}`;
    for (let number = 0; ; number++) {
      const parts = random.next() < 0.8 ? 1 : 2 + Math.floor(random.next() * 3);
      await append(nameOf(group, number, parts, sizeOf()));
      if (appender !== 0) continue;
      if (number % 8 === 3) await writeAndRollBack(wal, nameOf("never", 0, 2, 100));
      if (number === 5 && order.truncate > 0) await wal.truncate(order.truncate);
    }
  }

  await Promise.all(order.again.map(append));
  await Promise.all(Array.from({ length: appenders }, (_, appender) => load(appender)));
}

try {
  await run();
} catch (error) {
  say("end", MillraceError.is(error) ? `${error.code}: ${error.message}` : String(error));
}
process.exit();
