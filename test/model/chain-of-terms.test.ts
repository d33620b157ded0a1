import { describe, expect, test } from "vitest";
import { bounds } from "./bounds.node.ts";
import { type ChainFault, chainOfTerms } from "./chain-of-terms.ts";
import { explore } from "./explore.ts";

const sizes = bounds(
  [{ owners: 3, records: 3, inFlight: 2 }],
  [
    { owners: 3, records: 3, inFlight: 3 },
    { owners: 4, records: 2, inFlight: 2 },
  ],
);

const faults: ChainFault[] = [
  "acknowledges out of order",
  "takes an unknown outcome for success",
  "writes again elsewhere after an unknown outcome",
  "a record replaces what is there",
  "a seal replaces what is there",
  "begins without a seal",
  "goes on behind a higher term",
  "reads behind the seal",
];

describe("owners of a chain of terms, with late requests and lost answers", () => {
  test.each(sizes)(
    "$owners of them, $inFlight of $records records under way: none is lost or doubled, in one order",
    (size) => {
      const { states, complete, violation } = explore(chainOfTerms(size));
      console.info(`chain of terms, ${JSON.stringify(size)}: ${states} states`);
      expect(violation).toBeUndefined();
      expect(complete).toBe(true);
      expect(states).toBeGreaterThan(100_000);
    },
    600_000,
  );

  test.each(faults)("are found out if one breaks the rule: %s", (fault) => {
    const { violation } = explore(chainOfTerms({ owners: 3, records: 2, inFlight: 2, fault }));
    expect(violation?.steps.length).toBeGreaterThan(2);
  });
});
