import { createSeededRandom } from "@millrace/types/testing";
import { checkHistory } from "@millrace/wal/conformance";
import { describe, expect, test } from "vitest";
import { logFaults } from "./log-faults.ts";
import { readerFaults } from "./reader-faults.ts";
import { simulate } from "./simulate.ts";

const seeds = 60;

describe("a planted fault is found wherever it is", () => {
  test.each([...logFaults, ...readerFaults])("$name", ({ kinds, plant }) => {
    let planted = 0;
    for (let seed = 0; seed < seeds; seed++) {
      const history = plant(simulate(seed), createSeededRandom(seed));
      if (!history) continue;
      planted++;
      const found = checkHistory(history);
      const fitting = found.filter(({ kind }) => kinds.includes(kind));
      expect(fitting, `seed ${seed}: ${JSON.stringify(found)}`).not.toEqual([]);
    }
    expect(planted).toBeGreaterThan(seeds / 4);
  });
});
