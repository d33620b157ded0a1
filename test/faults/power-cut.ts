/**
 * Cutting the power of a machine with a log on it, at every moment of a random life, and looking whether
 * what was acknowledged is there when it comes back.
 *
 * @module
 */

import type { Random } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import type { FileSystem } from "@millrace/wal/file";
import type { Ledger } from "./ledger.ts";
import {
  appendSome,
  catchUp,
  createMachine,
  type Machine,
  open,
  readElsewhere,
  takeOver,
  truncate,
} from "./machine.ts";
import { type Choose, cutPower, type DiskFolder, everyChoice } from "./simulated-disk.ts";
import type { Fault, Operation } from "./simulated-file-system.ts";

/** Options of {@linkcode cutEverywhere}. */
export interface PowerCutOptions {
  /** Everything random follows from it. */
  seed: number;
  /** How many things are done before the life ends. */
  steps: number;
  /** At which part of all moments the power is cut, 0 to 1. Default 1. */
  sample?: number | undefined;
  /**
   * How many of the states in which the disk may be left are tried at each moment, beginning with those
   * that keep least. Default: one at random, and then the power is cut again.
   */
  states?: number | undefined;
  /** What goes wrong with operations, to see that it is noticed. Default: nothing. */
  fault?: ((operation: Operation) => Fault | undefined) | undefined;
  /** Wraps the file system of each owner. Default: it is used as it is. */
  wrap?: ((fs: FileSystem) => FileSystem) | undefined;
}

/** How many of what was tried. */
export interface PowerCutTotals {
  /** Times the power was cut, and the log recovered. */
  cuts: number;
  /** Of them during a recovery, or what followed it. */
  again: number;
  /** Moments of which not every state was tried. */
  incomplete: number;
  /** Moments of a life, two of each operation. */
  operations: number;
  acknowledged: number;
  takeovers: number;
  truncations: number;
}

/** A machine at the moment when its power was cut. */
interface Crash {
  disk: DiskFolder;
  ledger: Ledger;
  /** The highest term that may have been used. */
  term: number;
  /** The highest sequence before which was truncated. */
  truncated: number;
  /** What was going on. */
  during: string;
}

/**
 * Lives a random life with a log, then cuts the power at each moment of it, recovers, goes on, and cuts
 * it once more. Throws if something is lost, doubled or out of order, saying where and of which seed.
 */
export async function cutEverywhere(options: PowerCutOptions): Promise<PowerCutTotals> {
  const { seed, steps, sample = 1, states, fault, wrap } = options;
  const random = createSeededRandom(seed);
  const crashes: Crash[] = [];
  const totals: PowerCutTotals = {
    cuts: 0,
    again: 0,
    incomplete: 0,
    operations: 0,
    acknowledged: 0,
    takeovers: 0,
    truncations: 0,
  };
  const machine = createMachine({
    random,
    fault,
    wrap,
    onStep(operation) {
      totals.operations++;
      if (random.next() >= sample) return;
      if (states === undefined) {
        crashes.push(crash(machine, operation, chooseBiased(random)));
        return;
      }
      const before = crashes.length;
      for (const choose of everyChoice(states)) crashes.push(crash(machine, operation, choose));
      if (crashes.length - before === states) totals.incomplete++;
    },
  });
  try {
    await live(machine, steps, totals);
  } catch (error) {
    throw new Error(`seed ${seed}, before any cut: ${String(error)}`, { cause: error });
  }
  totals.acknowledged = machine.ledger.totals.acknowledged;
  for (const [index, each] of crashes.entries()) {
    try {
      const own = createSeededRandom(seed * 1_000_003 + index);
      await recover(machine, each, own, totals, states === undefined ? 2 : 0);
    } catch (error) {
      const where = `seed ${seed}, cut ${index} during ${each.during}`;
      throw new Error(`${where}: ${String(error)}`, { cause: error });
    }
  }
  return totals;
}

/** The machine as it may be found after its power was cut now. */
function crash(machine: Machine, { kind, path }: Operation, choose: Choose): Crash {
  const { disk, ledger, term, truncated } = machine;
  return {
    disk: cutPower(disk, choose),
    ledger: ledger.fork(),
    term,
    truncated,
    during: `${kind} ${path}`,
  };
}

/** Some cuts keep nearly all of what is open, some nearly nothing, some anything. */
function chooseBiased(random: Random): Choose {
  const lucky = random.next();
  const careful = random.next() < 0.5 ? 0 : random.next();
  return (count) => {
    if (random.next() >= careful) return Math.floor(random.next() * count);
    return random.next() < lucky ? count - 1 : 0;
  };
}

/** Does so many random things with a log, then closes it. */
async function live(machine: Machine, steps: number, totals: PowerCutTotals): Promise<void> {
  const { random } = machine;
  let owner = await open(machine);
  await catchUp(machine, owner.wal);
  for (let step = 0; step < steps; step++) {
    const dice = random.next();
    if (dice < 0.65) await appendSome(machine, owner.wal);
    else if (dice < 0.75) {
      await Promise.all([appendSome(machine, owner.wal), readElsewhere(machine)]);
    } else if (dice < 0.87) {
      totals.truncations++;
      await truncate(machine, owner.wal);
    } else {
      totals.takeovers++;
      owner = await takeOver(machine, owner);
    }
  }
  await owner.wal.close();
}

/** Comes back after a cut, looks at what is there, goes on, and is cut so many times again. */
async function recover(
  options: Pick<Machine, "fault" | "wrap">,
  crashed: Crash,
  random: Random,
  totals: PowerCutTotals,
  again: number,
): Promise<void> {
  totals.cuts++;
  const { fault, wrap } = options;
  const { disk, ledger, term, truncated } = crashed;
  let steps = 0;
  let next: Crash | undefined;
  const machine: Machine = {
    ...createMachine({
      random,
      fault,
      wrap,
      onStep(operation) {
        // Each step is as likely as the others to be the last one.
        if (again === 0 || random.next() * ++steps >= 1) return;
        next = crash(machine, operation, chooseBiased(random));
      },
    }),
    ...{ disk, ledger, term, truncated },
  };
  const owner = await open(machine);
  await catchUp(machine, owner.wal);
  await Promise.all([appendSome(machine, owner.wal), readElsewhere(machine)]);
  if (random.next() < 0.3) await truncate(machine, owner.wal);
  await appendSome(machine, owner.wal);
  await catchUp(machine, owner.wal);
  if (random.next() < 0.5) await owner.wal.close();
  if (!next) return;
  try {
    totals.again++;
    await recover(options, next, random, totals, again - 1);
  } catch (error) {
    throw new Error(`then cut during ${next.during}: ${String(error)}`, { cause: error });
  }
}
