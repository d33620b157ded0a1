import { expect, test } from "vitest";
import { checkMoves, type Layout } from "../src/mod.ts";

const layout: Layout = {
  nodes: ["a", "b"],
  pchannels: [
    { name: "p-0", node: "a", pinned: false, collections: [] },
    { name: "p-1", node: undefined, pinned: false, collections: [] },
    { name: "p-2", node: "b", pinned: true, collections: [] },
  ],
};

test("moves that can be made are passed on, those that change nothing are left out", () => {
  const answer = [
    { pchannel: "p-0", to: "a" },
    { pchannel: "p-1", to: "b" },
  ];
  expect(checkMoves(layout, answer)).toEqual([{ pchannel: "p-1", to: "b" }]);
});

test.each([
  ["nothing", undefined, "moves: must be a list of moves, got undefined"],
  ["a promise", Promise.resolve([]), "moves: must be a list of moves, got object"],
  ["no move", [null], "moves[0].pchannel: undefined is not a pchannel"],
  ["an unknown pchannel", [{ pchannel: "p-9", to: "a" }], 'moves[0].pchannel: "p-9" is not'],
  ["an unknown node", [{ pchannel: "p-1", to: "c" }], 'moves[0].to: "c" is not a node'],
  ["no node", [{ pchannel: "p-1" }], "moves[0].to: undefined is not a node"],
  ["a pinned pchannel", [{ pchannel: "p-2", to: "a" }], "moves[0].pchannel: p-2 is pinned"],
  [
    "one pchannel twice",
    [
      { pchannel: "p-1", to: "a" },
      { pchannel: "p-1", to: "b" },
    ],
    "moves[1].pchannel: p-1 is moved twice",
  ],
])("an answer with %s is refused", (_what, answer, message) => {
  expect(() => checkMoves(layout, answer)).toThrow(message);
});
