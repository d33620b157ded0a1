import { describe, expect, test } from "vitest";
import { bounds } from "./bounds.node.ts";
import { explore } from "./explore.ts";
import { fileChain } from "./file-chain.ts";
import type { FileFault } from "./file-faults.ts";

const sizes = bounds(
  [
    { owners: 3, records: 2, powerCuts: 1, failures: 1, reader: false },
    { owners: 3, records: 2, powerCuts: 0, failures: 0, reader: true },
    { owners: 3, records: 1, powerCuts: 1, failures: 0, reader: true },
  ],
  [
    { owners: 3, records: 3, powerCuts: 2, failures: 2, reader: false },
    { owners: 3, records: 2, powerCuts: 2, failures: 0, reader: true },
  ],
);

const withFailures = { owners: 3, records: 2, powerCuts: 1, failures: 1, reader: false };
const withReader = { owners: 3, records: 2, powerCuts: 1, failures: 0, reader: true };
const faults: [FileFault, typeof withReader][] = [
  ["does not look for the fence", withReader],
  ["looks for the fence before it writes", withReader],
  ["looks for the end before it puts the fence", withReader],
  ["a fence replaces another", withReader],
  ["an end replaces another", withReader],
  ["does not write down the end", withReader],
  ["goes on before the end is durable", withReader],
  ["goes on behind a fence that may vanish", withReader],
  ["goes on behind an end that may vanish", withReader],
  ["does not make the last record durable", withReader],
  ["syncs the last record's file instead of copying it", withFailures],
  ["syncs a file again after a failure", withFailures],
  ["a reader does not look for the end again", withReader],
];

describe("owners of a log in files, with crashes anywhere", () => {
  test.each(sizes)(
    "$owners of them, $records records, $powerCuts power cuts, $failures failed syncs, a reader: $reader",
    (size) => {
      const { states, complete, violation } = explore(fileChain(size));
      console.info(`log in files, ${JSON.stringify(size)}: ${states} states`);
      expect(violation).toBeUndefined();
      expect(complete).toBe(true);
      expect(states).toBeGreaterThan(100_000);
    },
    600_000,
  );

  test.each(faults)("are found out if one breaks the rule: %s", (fault, size) => {
    const { violation } = explore(fileChain({ ...size, fault }));
    expect(violation?.steps.length).toBeGreaterThan(2);
  });
});
