/**
 * A machine that is simulated, with a log on it: what its owners do, and what the ledger says of it.
 *
 * @module
 */

import { MillraceError, type Random } from "@millrace/types";
import { type LogBackend, openWal, type Wal } from "@millrace/wal";
import { createFileBackend, type FileSystem } from "@millrace/wal/file";
import { nameOf } from "./content.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { createFolder, type DiskFolder } from "./simulated-disk.ts";
import {
  createSimulatedFileSystem,
  type Fault,
  type Operation,
  type SimulatedFileSystem,
} from "./simulated-file-system.ts";
import { isTransactional, writeAndRollBack, writeNamed } from "./write-named.ts";

/** What a machine is like. */
export interface MachineOptions {
  random: Random;
  /** Called before an operation, and when it has happened but is neither durable nor answered. */
  onStep?: ((operation: Operation) => void) | undefined;
  /** What goes wrong with operations. Default: nothing. */
  fault?: ((operation: Operation) => Fault | undefined) | undefined;
  /** Wraps the file system of each owner. Default: it is used as it is. */
  wrap?: ((fs: FileSystem) => FileSystem) | undefined;
}

/** A machine with a log on it. */
export interface Machine extends MachineOptions {
  disk: DiskFolder;
  ledger: Ledger;
  /** The highest term that may have been used. */
  term: number;
  /** The highest sequence before which was truncated. */
  truncated: number;
  /** Why appends failed. */
  errors: MillraceError[];
}

/** A process that has the log open. */
export interface Owner {
  fs: SimulatedFileSystem;
  wal: Wal;
}

/** Appenders; those whose name begins with a "t" make transactions. */
const groups = ["g0", "t0", "g1", "t1", "g2"];
const sizes = [10, 10, 100, 300, 700, 1500, 6000];

/** A machine whose disk is empty. */
export function createMachine(options: MachineOptions): Machine {
  const { random, onStep, fault, wrap } = options;
  const state = { disk: createFolder(), ledger: createLedger(), term: 0, truncated: 0, errors: [] };
  return { random, onStep, fault, wrap, ...state };
}

interface Process {
  fs: SimulatedFileSystem;
  backend: LogBackend;
}

/** A process of its own on the machine. */
function start({ random, disk, onStep, fault, wrap }: Machine): Process {
  // Now and then one is so slow that it happens when another owner has long followed.
  const turns = (): number => Math.floor(random.next() * (random.next() < 0.01 ? 1000 : 4));
  const fs = createSimulatedFileSystem({ disk, onStep, fault, turns });
  return {
    fs,
    backend: createFileBackend({ dir: "/logs", segmentBytes: 4096, fs: wrap?.(fs) ?? fs }),
  };
}

/** Opens the log at the next term, as a process of its own. */
export function open(machine: Machine): Promise<Owner> {
  return openAt(machine, start(machine));
}

async function openAt(machine: Machine, { fs, backend }: Process): Promise<Owner> {
  let tick = 0n;
  const wal = await openWal({
    backend,
    pchannel: "p",
    term: ++machine.term,
    vchannels: "any",
    ticks: {
      take(count, after = 0n) {
        const first = (after > tick ? after : tick) + 1n;
        tick = first + BigInt(count) - 1n;
        return { first, count };
      },
    },
  });
  return { fs, wal };
}

/** Kills a process after a while. */
async function killSoon(
  { random }: Machine,
  fs: SimulatedFileSystem,
  turns: number,
): Promise<void> {
  for (let turn = Math.floor(random.next() * turns); turn > 0; turn--) await undefined;
  fs.stop();
}

/** Lets some appenders make, or make again, one append each. Those that fail have no answer. */
export async function appendSome(machine: Machine, wal: Wal): Promise<void> {
  const { ledger, random } = machine;
  const again = new Map(ledger.unanswered().map((name) => [name.split("/")[0], name]));
  const append = async (group: string): Promise<void> => {
    const size = sizes[Math.floor(random.next() * sizes.length)] ?? 0;
    const parts = random.next() < 0.8 ? 1 : 3;
    const name = again.get(group) ?? nameOf(group, ledger.nextNumber(group), parts, size);
    ledger.submit(name);
    try {
      const { id, duplicate } = await writeNamed(wal, name);
      ledger.acknowledge(name, id, duplicate);
    } catch (error) {
      if (!MillraceError.is(error)) throw error;
      machine.errors.push(error);
      const untouched = !error.maybeApplied && !again.has(group) && !isTransactional(group);
      if (untouched) ledger.withdraw(name);
    }
  };
  const chosen = groups.filter(() => random.next() < 0.5);
  const work = (chosen.length > 0 ? chosen : groups).map(append);
  if (random.next() < 0.1) work.push(rollBack(machine, wal));
  await Promise.all(work);
}

async function rollBack(machine: Machine, wal: Wal): Promise<void> {
  try {
    await writeAndRollBack(wal, nameOf("never", 0, 2, 100));
  } catch (error) {
    if (!MillraceError.is(error)) throw error;
    machine.errors.push(error);
  }
}

/** Reads what is new in the log. */
export async function catchUp(machine: Machine, wal: Wal): Promise<void> {
  const { ledger } = machine;
  const { next } = wal.bounds();
  const signal = new AbortController().signal;
  for (let { first } = wal.bounds(); first < next; ) {
    if (first > machine.truncated) throw new Error(`lost: the log begins at batch ${first}`);
    try {
      for await (const batch of wal.scan({ from: { sequence: first }, signal })) {
        ledger.take(batch);
        first = batch.sequence + 1;
        if (first === next) break;
      }
    } catch (error) {
      // A former owner has truncated meanwhile.
      if (!MillraceError.is(error, "OUT_OF_RANGE")) throw error;
      first = Number(error.expected);
    }
  }
  ledger.settle(next);
}

/** Another process reads what is new, while others append. What it was given must stay. */
export async function readElsewhere(machine: Machine): Promise<void> {
  const { ledger } = machine;
  const reader = await start(machine).backend.openReadOnly("p");
  const from = Math.max(reader.bounds().first, ledger.next);
  for await (const batch of reader.read(from)) ledger.take(batch);
  await reader.close();
}

/** Truncates while others append. */
export async function truncate(machine: Machine, wal: Wal): Promise<void> {
  const { ledger, random } = machine;
  await catchUp(machine, wal);
  // Also what has no answer yet and may be asked for again: its key must be known all the same.
  const before = Math.floor(random.next() * (ledger.next + 1));
  machine.truncated = Math.max(machine.truncated, before);
  const appending = appendSome(machine, wal);
  try {
    await wal.truncate(before);
  } finally {
    await appending;
  }
}

/** Another owner follows: one that was closed, one that was killed, or one that goes on writing. */
export async function takeOver(machine: Machine, old: Owner): Promise<Owner> {
  const { random } = machine;
  const dice = random.next();
  const writing =
    random.next() < 0.7
      ? appendSome(machine, old.wal)
      : truncate(machine, old.wal).catch((error) => {
          if (!MillraceError.is(error)) throw error;
        });
  if (dice < 0.3) {
    await writing;
    await old.wal.close();
  } else if (dice < 0.6) {
    await killSoon(machine, old.fs, 20);
    await writing;
  }
  if (random.next() < 0.3) {
    const process = start(machine);
    const opened = openAt(machine, process).catch(() => undefined);
    await Promise.all([killSoon(machine, process.fs, 300), opened]);
  }
  const [next] = await Promise.all([open(machine), writing]);
  // A zombie must not be believed.
  await Promise.all([appendSome(machine, old.wal), catchUp(machine, next.wal)]);
  await old.wal.close().catch(() => undefined);
  return next;
}
