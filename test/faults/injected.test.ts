import { createSeededRandom } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { faultsOf, operationsOf, type Plan, tryPlan } from "./injected.ts";
import { appendSome, catchUp, createMachine, open } from "./machine.ts";
import type { Operation } from "./simulated-file-system.ts";

const firstSeed = Number(process.env.MILLRACE_TEST_SEED ?? 1);
/** How many lives are lived with every fault. */
const seeds = process.env.MILLRACE_TEST_FAULTS === "all" ? 10 : 1;

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
