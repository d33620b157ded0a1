import fc from "fast-check";
import { expect, test } from "vitest";
import {
  allocateVchannels,
  applyMoves,
  type BalancePolicy,
  type Layout,
  pchannelFair,
  vchannelFair,
} from "../src/mod.ts";

const layouts: fc.Arbitrary<Layout> = fc
  .record({
    nodes: fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"), { minLength: 0, maxLength: 4 }),
    cells: fc.array(
      fc.record({
        node: fc.option(fc.nat(), { nil: undefined }),
        pinned: fc.boolean(),
        collections: fc.array(fc.constantFrom("1", "2", "3"), { maxLength: 3 }),
      }),
      { maxLength: 10 },
    ),
  })
  .map(({ nodes, cells }) => ({
    nodes,
    pchannels: cells.map(({ node, pinned, collections }, i) => ({
      name: `p-${i}`,
      // What is pinned may be at a node that is given nothing new.
      node:
        node === undefined
          ? undefined
          : pinned && node % 5 === 0
            ? "z"
            : nodes[node % nodes.length],
      pinned,
      collections,
    })),
  }));

const counts = (layout: Layout): number[] =>
  layout.nodes.map((node) => layout.pchannels.filter((p) => p.node === node).length);

const policies: BalancePolicy[] = [pchannelFair(), vchannelFair()];

test("each policy places all that may be placed, on nodes that are there, the same way each time", () => {
  fc.assert(
    fc.property(layouts, fc.constantFrom(...policies), (layout, policy) => {
      const moves = policy.plan(layout);
      expect(policy.plan(structuredClone(layout))).toEqual(moves);
      expect(policy.plan({ ...layout, nodes: [...layout.nodes].reverse() })).toEqual(moves);
      for (const { pchannel, to } of moves) {
        expect(layout.nodes).toContain(to);
        expect(layout.pchannels.find((p) => p.name === pchannel)?.pinned).toBe(false);
      }
      if (layout.nodes.length === 0) return;
      for (const p of applyMoves(layout, moves).pchannels) {
        if (!p.pinned) expect(p.node).toBeDefined();
      }
    }),
    { numRuns: 300 },
  );
});

test("where all that have a node are pinned, only the others move", () => {
  fc.assert(
    fc.property(layouts, fc.constantFrom(...policies), (layout, policy) => {
      const pchannels = layout.pchannels.map((p) => ({
        ...p,
        pinned: p.pinned || p.node !== undefined,
      }));
      for (const { pchannel } of policy.plan({ ...layout, pchannels })) {
        expect(layout.pchannels.find((p) => p.name === pchannel)?.node).toBeUndefined();
      }
    }),
  );
});

test("pchannelFair: when nothing is pinned, counts differ by at most one, and then nothing moves", () => {
  fc.assert(
    fc.property(layouts, (pinned) => {
      const layout = {
        ...pinned,
        pchannels: pinned.pchannels.map((p) => ({
          ...p,
          node: p.node === "z" ? undefined : p.node,
          pinned: false,
        })),
      };
      fc.pre(layout.nodes.length > 0);
      const after = applyMoves(layout, pchannelFair().plan(layout));
      const held = counts(after);
      expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(1);
      expect(pchannelFair().plan(after)).toEqual([]);
    }),
  );
});

test("when a node dies only its pchannels move", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...policies),
      fc.integer({ min: 2, max: 5 }),
      fc.array(fc.array(fc.constantFrom("1", "2", "3"), { maxLength: 3 }), { maxLength: 20 }),
      (policy, n, collections) => {
        const nodes = Array.from({ length: n }, (_, i) => `n-${i}`);
        const empty = unplaced(nodes, collections);
        const placed = applyMoves(empty, policy.plan(empty));
        const dead = nodes[0];
        const lost = placed.pchannels.filter((c) => c.node === dead).map((c) => c.name);
        const left: Layout = {
          nodes: nodes.slice(1),
          pchannels: placed.pchannels.map((c) => (c.node === dead ? { ...c, node: undefined } : c)),
        };
        fc.pre(lost.length > 0);
        const moved = policy.plan(left);
        expect(moved.map((move) => move.pchannel).sort()).toEqual(lost.sort());
      },
    ),
  );
});

function unplaced(nodes: string[], collections: readonly (readonly string[])[]): Layout {
  return {
    nodes,
    pchannels: collections.map((own, i) => ({
      name: `p-${i}`,
      node: undefined,
      pinned: false,
      collections: own,
    })),
  };
}

test("vchannelFair settles: planning again and again ends", () => {
  fc.assert(
    fc.property(layouts, (start) => {
      let layout = start;
      for (let round = 0; round < 20; round++) {
        const moves = vchannelFair().plan(layout);
        if (moves.length === 0) return;
        layout = applyMoves(layout, moves);
      }
      throw new Error("it still moves pchannels after 20 rounds");
    }),
  );
});

test("vchannelFair spreads vchannels where counting pchannels would not", () => {
  const pchannel = (name: string, vchannels: number, node?: string) => ({
    name,
    node,
    pinned: false,
    collections: Array.from({ length: vchannels }, (_, i) => `${name}-${i}`),
  });
  const layout: Layout = {
    nodes: ["a", "b"],
    pchannels: [
      pchannel("big-1", 10, "a"),
      pchannel("big-2", 10, "a"),
      pchannel("small-1", 1, "b"),
      pchannel("small-2", 1, "b"),
    ],
  };
  expect(pchannelFair().plan(layout)).toEqual([]);
  const after = applyMoves(layout, vchannelFair().plan(layout));
  const big = after.pchannels.filter((p) => p.name.startsWith("big")).map((p) => p.node);
  expect(new Set(big).size).toBe(2);
});

test("vchannels of a new collection go to the emptiest pchannels, one on each", () => {
  const pchannels = ["p-0", "p-1", "p-2", "p-3"];
  const load = new Map([
    ["p-0", 2],
    ["p-2", 1],
  ]);
  expect(allocateVchannels({ collectionId: 7n, shards: 3, pchannels, load })).toEqual([
    "p-1_7v0",
    "p-3_7v1",
    "p-2_7v2",
  ]);
  for (const shards of [0, 5, 1.5, Number.NaN]) {
    expect(() => allocateVchannels({ collectionId: 7n, shards, pchannels, load })).toThrow(
      `shards must be 1 to 4 (the number of pchannels), got ${shards}`,
    );
  }
});
