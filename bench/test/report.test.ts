import { expect, test } from "vitest";
import { commitsPerSecond, measureInTurn, median, quantile } from "../src/measure.ts";
import { type Measurement, rowsOf, tableOf } from "../src/report.ts";

const measurement: Measurement = {
  name: "append",
  unit: "records/s",
  runs: [100, 300, 200],
  peers: [
    { name: "raw", runs: [200, 300, 400], target: { atLeast: 0.8 } },
    { name: "lmdb", runs: [50, 60, 100] },
  ],
};

test("subjects run in turn, and each has its figures in the order of the runs", async () => {
  const order: string[] = [];
  const subject = (name: string, first: number) => ({
    name,
    run: async () => first + order.push(name),
  });
  const figures = await measureInTurn([subject("a", 0), subject("b", 100)], 2);
  expect(order).toEqual(["a", "b", "a", "b"]);
  expect(Object.fromEntries(figures)).toEqual({ a: [1, 3], b: [102, 104] });
});

test("medians and quantiles are values that were measured", () => {
  expect(median([5, 1, 9])).toBe(5);
  expect(median([4, 1, 3, 2])).toBe(2);
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect(quantile(hundred, 0.99)).toBe(99);
  expect(quantile(hundred, 0)).toBe(1);
});

test("commits are counted as they resolve, at most as many at once as there are appenders", async () => {
  let waiting = 0;
  let most = 0;
  const commit = async (): Promise<void> => {
    waiting++;
    most = Math.max(most, waiting);
    await new Promise((resolve) => setImmediate(resolve));
    waiting--;
  };
  expect(await commitsPerSecond(commit, 3, 5)).toBeGreaterThan(0);
  expect(most).toBe(3);
});

test("a ratio is taken within each round, and its median is reported", () => {
  expect(rowsOf(measurement)).toEqual([
    {
      name: "append",
      median: 200,
      unit: "records/s",
      ratio: null,
      target: null,
      runs: [100, 300, 200],
    },
    {
      name: "append: raw",
      median: 300,
      unit: "records/s",
      ratio: 0.5,
      target: "≥ 0.8 ×",
      runs: [200, 300, 400],
    },
    {
      name: "append: lmdb",
      median: 60,
      unit: "records/s",
      ratio: 2,
      target: null,
      runs: [50, 60, 100],
    },
  ]);
});

test("a table has a line per measurement and says which targets were met", () => {
  const latency: Measurement = {
    name: "one append",
    unit: "ms",
    runs: [0.25],
    target: { atMost: 0.3 },
    peers: [{ name: "lmdb", runs: [0.5] }],
  };
  const [head, , ...lines] = tableOf([measurement, latency]).split("\n");
  expect(head).toMatch(/^\| +\| Millrace +\| against raw +\| against lmdb +\|$/);
  expect(lines[0]).toMatch(/\| append +\| 200 records\/s +\| 0.5 × \(≥ 0.8 ×: missed\) \| 2 × +\|/);
  expect(lines[1]).toMatch(/\| one append \| 0.25 ms \(≤ 0.3 ms: met\) \| +\| 0.5 × +\|/);
});
