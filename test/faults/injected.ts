/**
 * Failing each operation of the life of a machine in turn.
 *
 * @module
 */

import { MillraceError } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import {
  appendSome,
  catchUp,
  createMachine,
  type Machine,
  type Owner,
  open,
  truncate,
} from "./machine.ts";
import { cutPower } from "./simulated-disk.ts";
import type { Fault, Operation } from "./simulated-file-system.ts";

/** What can go wrong with an operation. */
export function faultsOf(kind: Operation["kind"]): Fault[] {
  const error = (code: string, done: "nothing" | "half" | "all"): Fault => ({
    kind: "error",
    code,
    done,
  });
  switch (kind) {
    case "write":
      return [
        error("EIO", "nothing"),
        error("EIO", "half"),
        error("EIO", "all"),
        error("ENOSPC", "nothing"),
        error("ENOSPC", "half"),
        { kind: "short write" },
      ];
    case "create":
    case "make folder":
    case "link":
    case "rename":
      return [error("EIO", "nothing"), error("EIO", "all"), error("ENOSPC", "nothing")];
    default:
      return [error("EIO", "nothing")];
  }
}

const readKinds: ReadonlySet<string> = new Set(["open", "size", "read", "list"]);

/** What goes wrong in a life. */
export interface Plan {
  /** The operation that fails. */
  index: number;
  fault: Fault;
  /** All of its kind fail from then on. */
  persistent: boolean;
}

/** A disk that does as planned, until it is repaired. */
function createFaultyDisk(plan: Plan): {
  fault(operation: Operation): Fault | undefined;
  /** Whether what has failed was to read something. */
  readsFail(): boolean;
  repair(): void;
} {
  let count = 0;
  let broken: Operation["kind"] | undefined;
  let repaired = false;
  return {
    fault({ kind }) {
      const due = count++ === plan.index;
      if (repaired) return undefined;
      if (due) broken = kind;
      return due || (plan.persistent && broken === kind) ? plan.fault : undefined;
    },
    readsFail: () => broken !== undefined && readKinds.has(broken),
    repair() {
      repaired = true;
    },
  };
}

/** Every error must say what has failed: throws those that do not. */
function checkClear(error: unknown): void {
  if (
    MillraceError.is(error) &&
    /EIO|ENOSPC|bytes.* were written|the log is closed|is closing/.test(error.message)
  ) {
    return;
  }
  throw error;
}

async function attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    checkClear(error);
    return undefined;
  }
}

/** A life with rolls, a truncation and a second owner, some of which may fail. */
async function live(machine: Machine, readsFail = () => false): Promise<Owner | undefined> {
  const read = async ({ wal }: Owner): Promise<void> => {
    try {
      await catchUp(machine, wal);
    } catch (error) {
      // Whatever else has failed, what was acknowledged can be read.
      if (!readsFail()) throw error;
      checkClear(error);
    }
  };
  let last: Owner | undefined;
  for (let round = 0; round < 2; round++) {
    const owner = await attempt(() => open(machine));
    if (!owner) continue;
    last = owner;
    await read(owner);
    for (let i = 0; i < 3; i++) await appendSome(machine, owner.wal);
    await attempt(() => truncate(machine, owner.wal));
    await appendSome(machine, owner.wal);
    await read(owner);
    if (round === 0) await attempt(() => owner.wal.close());
  }
  return last;
}

/** What became of the last owner. */
export type Survival = "went on" | "failed" | "never opened";

/**
 * Lives the life of a seed with a plan, then repairs the disk and looks what is there: on the machine as
 * it stands, and after a power cut. Throws if something acknowledged is lost, something else is doubled
 * or out of order, or an error does not say what has failed.
 */
export async function tryPlan(plan: Plan, seed: number): Promise<Survival> {
  const disk = createFaultyDisk(plan);
  const machine = createMachine({ random: createSeededRandom(seed), fault: disk.fault });
  const last = await live(machine, disk.readsFail);
  for (const error of machine.errors) checkClear(error);
  const crashed: Machine = {
    ...machine,
    disk: cutPower(machine.disk, (count) => Math.floor(machine.random.next() * count)),
    ledger: machine.ledger.fork(),
  };
  disk.repair();
  const outcome = !last ? "never opened" : last.wal.signal.aborted ? "failed" : "went on";
  for (const each of [machine, crashed]) {
    const owner = await open(each);
    await catchUp(each, owner.wal);
    each.errors.length = 0;
    await appendSome(each, owner.wal);
    for (const error of each.errors) throw error;
    await catchUp(each, owner.wal);
    await owner.wal.close();
  }
  return outcome;
}

/** What a life without faults asks of the file system. */
export async function operationsOf(seed: number): Promise<Operation["kind"][]> {
  const kinds: Operation["kind"][] = [];
  const fault = ({ kind }: Operation): undefined => void kinds.push(kind);
  await live(createMachine({ random: createSeededRandom(seed), fault }));
  return kinds;
}
