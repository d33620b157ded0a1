import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { afterEach, expect, test } from "vitest";
import { createTempFolder } from "../harness/temp.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { readLog } from "./read-log.ts";
import { startWriter, type Writer } from "./writer.ts";

const cycles = Number(process.env.MILLRACE_TEST_KILLS ?? 200);
const seed = Number(process.env.MILLRACE_TEST_SEED ?? 1);

const writers = new Set<Writer>();
afterEach(async () => {
  for (const writer of writers) writer.signal("SIGKILL");
  await Promise.all([...writers].map(({ ended }) => ended));
});

interface Session {
  dir: string;
  random: Random;
  ledger: Ledger;
  term: number;
  /** The next writer, started already, so that its start costs nothing. */
  spare: Writer;
  start(): Writer;
}

/** Lets the next writer open the log at a higher term and write. */
function beginWriter(session: Session, again: string[]): Writer {
  const writer = session.spare;
  session.spare = session.start();
  const { dir, random, ledger } = session;
  const term = ++session.term;
  writer.begin(
    {
      dir,
      term,
      seed: Math.floor(random.next() * 2 ** 31),
      prefix: String(term),
      again,
      // Also what has no answer and is asked for again: its key must be known all the same.
      truncate: random.next() < 0.3 ? ledger.next : 0,
    },
    ledger,
  );
  return writer;
}

/** Waits until a random moment: now and then of the opening, else of the load. */
async function untilRandomMoment({ random }: Session, writer: Writer): Promise<void> {
  if (random.next() < 0.2) await sleep(random.next() * 20);
  else {
    await writer.opened;
    await sleep(random.next() * 60);
  }
}

async function endWriter(writer: Writer): Promise<string> {
  writer.signal("SIGKILL");
  const reason = await writer.ended;
  writers.delete(writer);
  return reason;
}

/** One owner is killed under load. */
async function killOne(session: Session): Promise<void> {
  const writer = beginWriter(session, session.ledger.unanswered());
  await untilRandomMoment(session, writer);
  expect(await endWriter(writer)).toBe("");
}

/** An owner is followed by another while it lives, or while it is stopped in the middle of something. */
async function followLiving(session: Session): Promise<void> {
  const { random } = session;
  const old = beginWriter(session, session.ledger.unanswered());
  await untilRandomMoment(session, old);
  const stopped = random.next() < 0.5;
  if (stopped) old.signal("SIGSTOP");
  const next = beginWriter(session, []);
  await untilRandomMoment(session, next);
  await next.opened;
  if (stopped) old.signal("SIGCONT");
  const reason = await Promise.race([old.ended, sleep(20_000, "still writing", { ref: false })]);
  expect(reason).toMatch(/^CHANNEL_FENCED: /);
  writers.delete(old);
  await sleep(random.next() * 20);
  expect(await endWriter(next)).toBe("");
}

test(
  `of ${cycles} owners that are killed under load, none loses or doubles an append`,
  async () => {
    await using folder = await createTempFolder("millrace-kill");
    const start = (): Writer => {
      const writer = startWriter(join(folder.path, "cache"));
      writers.add(writer);
      return writer;
    };
    const session: Session = {
      dir: join(folder.path, "log"),
      random: createSeededRandom(seed),
      ledger: createLedger(),
      term: 0,
      spare: start(),
      start,
    };
    const { ledger } = session;
    let followed = 0;
    for (let cycle = 1; cycle <= cycles; cycle++) {
      if (cycle % 8 === 0) {
        await followLiving(session);
        followed++;
      } else await killOne(session);
      // All of it now and then, else what is new.
      await readLog(session.dir, ledger, cycle % 25 === 0 || cycle === cycles ? 0 : ledger.next);
    }
    const { submitted, acknowledged, duplicates, kept, batches, transactions } = ledger.totals;
    console.log(
      `kill -9: ${cycles} cycles (${followed} of them followed while alive), ${submitted} appends ` +
        `(${transactions} transactions) in ${batches} batches, ${acknowledged} acknowledged, ${kept} kept without an answer, ` +
        `${duplicates} of them found by their retry, lost 0, doubled 0 (seed ${seed})`,
    );
    expect(acknowledged).toBeGreaterThan(cycles);
  },
  60_000 + cycles * 4000,
);
