import { describe, expect, test } from "vitest";
import { assignment } from "./assignment.ts";
import type { AssignmentFault } from "./assignment-options.ts";
import { bounds } from "./bounds.node.ts";
import { explore } from "./explore.ts";

const size = bounds({ terms: 2, records: 2 }, { terms: 3, records: 1 });

const faults: AssignmentFault[] = [
  "tells before it has saved",
  "saves over what another wrote",
  "takes an unknown save for done",
  "tries again at the same term",
  "forgets former owners",
  "opens without a seal",
  "goes on behind a higher term",
  "opens a term again",
  "acknowledges what was sent",
  "a record lands behind the seal",
];

describe("two coordinators, one of them deposed, two nodes and a log, with crashes anywhere", () => {
  test("a term is given once, after it was saved, and readers see all that is acknowledged", () => {
    const { states, complete, violation } = explore(assignment(size));
    console.info(`assignment: ${states} states`);
    expect(violation).toBeUndefined();
    expect(complete).toBe(true);
  });

  test.each(faults)("is found out if one of them breaks the rules: %s", (fault) => {
    const { violation, states } = explore(assignment({ ...size, fault }));
    console.info(`${fault}: ${violation?.message}, ${violation?.steps.length} steps`);
    expect(violation, `${states} states`).toBeDefined();
  });

  test.each(["every term has acknowledged", "both coordinators wait for a node"] as const)(
    "gets as far as that %s",
    (goal) => {
      expect(explore(assignment({ ...size, goal })).violation?.message).toBe(goal);
    },
  );
});
