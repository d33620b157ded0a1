import { MillraceError } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { expect, test } from "vitest";
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

const firstSeed = Number(process.env.MILLRACE_TEST_SEED ?? 1);
/** How many lives are lived with every fault. */
const seeds = process.env.MILLRACE_TEST_FAULTS === "all" ? 10 : 1;

/** What can go wrong with an operation. */
function faultsOf(kind: Operation["kind"]): Fault[] {
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

interface Plan {
  /** The operation that fails. */
  index: number;
  fault: Fault;
  /** All of its kind fail from then on. */
  persistent: boolean;
}

/** A disk that does as planned, until it is repaired. */
function createFaultyDisk(plan: Plan): {
  fault(operation: Operation): Fault | undefined;
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
    repair() {
      repaired = true;
    },
  };
}

/** Every error must say what has failed. */
function expectClear(error: unknown): void {
  expect(MillraceError.is(error), String(error)).toBe(true);
  expect(String(error)).toMatch(/EIO|ENOSPC|bytes.* were written|the log is closed|is closing/);
}

async function attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    expectClear(error);
    return undefined;
  }
}

/** A life with rolls, a truncation and a second owner, some of which may fail. */
async function live(machine: Machine): Promise<Owner | undefined> {
  let last: Owner | undefined;
  for (let round = 0; round < 2; round++) {
    const owner = await attempt(() => open(machine));
    if (!owner) continue;
    last = owner;
    await catchUp(machine, owner.wal);
    for (let i = 0; i < 3; i++) await appendSome(machine, owner.wal);
    await attempt(() => truncate(machine, owner.wal));
    await appendSome(machine, owner.wal);
    // Whatever has failed, what was acknowledged can be read.
    await catchUp(machine, owner.wal);
    if (round === 0) await attempt(() => owner.wal.close());
  }
  return last;
}

async function tryPlan(plan: Plan, seed: number): Promise<"went on" | "failed" | "never opened"> {
  const disk = createFaultyDisk(plan);
  const machine = createMachine({ random: createSeededRandom(seed), fault: disk.fault });
  const last = await live(machine);
  for (const error of machine.errors) expectClear(error);
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
    expect(each.errors).toEqual([]);
    await catchUp(each, owner.wal);
    await owner.wal.close();
  }
  return outcome;
}

/** What a life without faults asks of the file system. */
async function operationsOf(seed: number): Promise<Operation["kind"][]> {
  const kinds: Operation["kind"][] = [];
  const fault = ({ kind }: Operation): undefined => void kinds.push(kind);
  await live(createMachine({ random: createSeededRandom(seed), fault }));
  return kinds;
}

test(
  "whatever operation fails, once or from then on, nothing acknowledged is lost",
  async () => {
    const totals = { plans: 0, "went on": 0, failed: 0, "never opened": 0 };
    const kinds = await operationsOf(firstSeed);
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      for (const [index, kind] of (await operationsOf(seed)).entries()) {
        for (const fault of faultsOf(kind)) {
          for (const persistent of [false, true]) {
            const plan: Plan = { index, fault, persistent };
            try {
              totals[await tryPlan(plan, seed)]++;
              totals.plans++;
            } catch (error) {
              const what = `seed ${seed}, ${kind}, ${JSON.stringify(plan)}`;
              throw new Error(`${what}: ${String(error)}`, { cause: error });
            }
          }
        }
      }
    }
    console.log(
      `injected errors: ${totals.plans} in ${seeds} lives of about ${kinds.length} operations; the last ` +
        `owner went on in ${totals["went on"]}, failed in ${totals.failed}, could not open in ` +
        `${totals["never opened"]}; lost 0, acknowledged falsely 0`,
    );
  },
  60_000 + seeds * 30_000,
);

test("a full disk refuses appends, keeps reads, and takes appends again when there is space", async () => {
  let full = false;
  const takesSpace = new Set<Operation["kind"]>(["create", "write", "make folder", "link"]);
  for (const done of ["nothing", "half"] as const) {
    const machine = createMachine({
      random: createSeededRandom(firstSeed),
      fault: ({ kind }) =>
        full && takesSpace.has(kind) ? { kind: "error", code: "ENOSPC", done } : undefined,
    });
    const { wal } = await open(machine);
    for (let round = 0; round < 4; round++) {
      await appendSome(machine, wal);
      full = true;
      for (let i = 0; i < 3; i++) {
        machine.errors.length = 0;
        await appendSome(machine, wal);
        expect(machine.errors).not.toEqual([]);
        for (const error of machine.errors) {
          expect(error).toMatchObject({ code: "RESOURCE_EXHAUSTED", retryable: true });
        }
        await catchUp(machine, wal);
      }
      await expect(open(machine)).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
      full = false;
      machine.errors.length = 0;
      await appendSome(machine, wal);
      expect(machine.errors).toEqual([]);
      await catchUp(machine, wal);
    }
    await wal.close();
    await catchUp(machine, (await open(machine)).wal);
  }
});
