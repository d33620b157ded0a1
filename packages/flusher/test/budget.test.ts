import { expect, test } from "vitest";
import { createFlushBudget } from "../src/mod.ts";

const { signal } = new AbortController();

/** A member that gives back what it holds when it is told to. */
function member(budget: ReturnType<typeof createFlushBudget>, limit = 1000) {
  const state = { relieved: 0, relievable: 0 };
  const share = budget.join(
    {
      relievable: () => state.relievable,
      relieve: () => {
        state.relieved++;
      },
    },
    limit,
  );
  return { state, share };
}

test("bytes are taken at once while there is room, then when others give them back", async () => {
  const budget = createFlushBudget({ bytes: 100 });
  const a = member(budget);
  const b = member(budget);
  expect(a.share.reserve(60, signal)).toBeUndefined();
  expect(b.share.reserve(30, signal)).toBeUndefined();
  const waiting = b.share.reserve(30, signal);
  expect(waiting).toBeInstanceOf(Promise);
  a.share.release(60);
  await waiting;
  expect(b.share.held).toBe(60);
});

test("the member that can free the most is asked to", () => {
  const budget = createFlushBudget({ bytes: 100 });
  const [small, large, asking] = [member(budget), member(budget), member(budget)];
  void small.share.reserve(30, signal);
  void large.share.reserve(50, signal);
  void asking.share.reserve(10, signal);
  small.state.relievable = 30;
  large.state.relievable = 50;
  void asking.share.reserve(30, signal);
  expect([small.state.relieved, large.state.relieved, asking.state.relieved]).toEqual([0, 1, 0]);
});

test("a member at its own limit frees its own, and one that holds nothing is let in", () => {
  const budget = createFlushBudget({ bytes: 100 });
  const a = member(budget, 50);
  const b = member(budget, 50);
  expect(a.share.reserve(70, signal)).toBeUndefined();
  expect(a.share.reserve(1, signal)).toBeInstanceOf(Promise);
  expect(a.state.relieved).toBe(1);
  expect(b.share.reserve(70, signal)).toBeUndefined();
});

test("waiting ends with its signal and leaves nothing behind", async () => {
  const budget = createFlushBudget({ bytes: 10 });
  const a = member(budget);
  const b = member(budget);
  void a.share.reserve(10, signal);
  void b.share.reserve(1, signal);
  const stop = new AbortController();
  const waiting = expect(b.share.reserve(5, stop.signal)).rejects.toThrow("enough");
  stop.abort(new Error("enough"));
  await waiting;
  a.share.leave();
  expect(b.share.held).toBe(1);
});

test("no more files are made at a time than allowed", async () => {
  const budget = createFlushBudget({ encoders: 2 });
  const { share } = member(budget);
  let running = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, ++running);
    for (let turn = 0; turn < 5; turn++) await undefined;
    running--;
  };
  await Promise.all(Array.from({ length: 7 }, () => share.encode(work, signal)));
  expect(most).toBe(2);
});
