import { checkHistory } from "@millrace/wal/conformance";
import { describe, expect, test } from "vitest";
import { simulate } from "./simulate.ts";

describe("a log that does everything right", () => {
  test("passes, whatever happens to its owners and readers", () => {
    for (let seed = 0; seed < 300; seed++) {
      expect(checkHistory(simulate(seed)), `seed ${seed}`).toEqual([]);
    }
  });
});
