import { MillraceError } from "@millrace/types";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { createMemoryBackend, type Delivery, type ReadOptions } from "../src/mod.ts";
import { read } from "../src/read/reader.ts";
import { text } from "./helpers.ts";
import {
  begin,
  body,
  commit,
  createBatcher,
  createSource,
  type LiveSource,
  plain,
  rollback,
  textsOfDelivery,
  timeTick,
} from "./read-helpers.ts";

async function start() {
  const log = await createMemoryBackend().open("test-dml_0", 1);
  return { source: createSource(log), batcher: createBatcher() };
}

/** Everything that a reader gets until the log is closed. */
async function collect(deliveries: AsyncIterable<Delivery>): Promise<Delivery[]> {
  const all: Delivery[] = [];
  for await (const delivery of deliveries) all.push(delivery);
  return all;
}

function begun(source: LiveSource, options: Omit<ReadOptions, "signal">): Promise<Delivery[]> {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  return collect(read(source, { ...options, signal: controller.signal }));
}

function close(source: LiveSource): void {
  source.end(new MillraceError("ON_SHUTDOWN", "closed"));
}

test("reading from the earliest place gets all that counts", async () => {
  const { source, batcher } = await start();
  const txn = batcher.nextTick();
  await source.append(batcher.next([begin(), body(txn, "a")]));
  const reading = begun(source, { from: "earliest" });
  await source.append(batcher.next([plain("x"), timeTick()]));
  await source.append(batcher.next([body(txn, "b"), commit(txn)]));
  // Waits for what is still to come, so that it has taken all before it.
  await source.append(batcher.next([plain("y")]));
  await settleReader(source, reading, ["x", "a,b", "y"]);
});

/** Lets a reader take all that is there, ends it, and looks at what it got. */
async function settleReader(
  source: LiveSource,
  reading: Promise<Delivery[]>,
  expected: string[],
): Promise<void> {
  for (let i = 0; i < 200; i++) await Promise.resolve();
  close(source);
  expect((await reading).map(textsOfDelivery)).toEqual(expected);
}

test("from the latest place a transaction that is open arrives whole when it is committed", async () => {
  const { source, batcher } = await start();
  const txn = batcher.nextTick();
  await source.append(batcher.next([begin(), begin(), begin(), plain("before")]));
  await source.append(batcher.next([body(txn, "a"), body(txn + 1n, "b"), body(txn + 2n, "c")]));
  await source.append(batcher.next([commit(txn + 2n), plain("also before")]));
  const reading = begun(source, { from: "latest" });
  await source.append(batcher.next([body(txn, "d"), commit(txn), rollback(txn + 1n)]));
  await source.append(batcher.next([plain("after")]));
  await settleReader(source, reading, ["a,d", "after"]);
});

test("from a sequence a transaction that was begun before is left out whole", async () => {
  const { source, batcher } = await start();
  const txn = batcher.nextTick();
  await source.append(batcher.next([begin()]));
  await source.append(batcher.next([body(txn, "a")]));
  await source.append(batcher.next([commit(txn), plain("x")]));
  await settleReader(source, begun(source, { from: { sequence: 1 } }), ["x"]);
});

test("filters leave out vchannels, ticks and types, and never part of what passes", async () => {
  const { source, batcher } = await start();
  const txn = batcher.nextTick();
  const removal = text("gone", "v", 3);
  await source.append(batcher.next([begin(), plain("x"), { messages: [text("w", "w")] }]));
  await source.append(batcher.next([{ messages: [text("all", "")] }, body(txn, "a")]));
  await source.append(batcher.next([{ messages: [removal], txn }, commit(txn)]));
  const only = (options: Partial<ReadOptions>) => begun(source, { from: "earliest", ...options });
  const readers = [
    only({ vchannel: "v" }),
    only({ vchannel: "w" }),
    only({ afterTick: 3n }),
    only({ types: [3] }),
    only({ types: [99] }),
  ];
  for (let i = 0; i < 200; i++) await Promise.resolve();
  close(source);
  const texts = (await Promise.all(readers)).map((all) => all.map(textsOfDelivery));
  expect(texts).toEqual([["x", "all", "a,gone"], ["w", "all"], ["all", "a,gone"], ["gone"], []]);
});

test("a reader that is broken off anywhere and goes on behind what it got misses and repeats nothing", async () => {
  const step = fc.record({
    what: fc.constantFrom("plain", "begin", "body", "commit", "rollback", "break"),
    which: fc.nat(3),
    count: fc.nat(4),
  });
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 5, maxLength: 40 }),
    async (script) => {
      const { source, batcher } = await start();
      const open = new Map<bigint, string[]>();
      const expected: string[] = [];
      const got: string[] = [];
      let after: Pick<Delivery, "tick" | "resume"> | undefined;
      const take = async (count: number): Promise<void> => {
        const { signal } = new AbortController();
        if (count === 0) return;
        // Throws at the end instead of waiting there.
        const ended = () => new MillraceError("INNER", "there is no more");
        for await (const delivery of read(
          { ...source, ended },
          {
            from: after ? { after } : "earliest",
            signal,
          },
        )) {
          got.push(textsOfDelivery(delivery));
          after = delivery;
          if (--count === 0) return;
        }
      };
      for (const [index, { what, which, count }] of script.entries()) {
        const txn = [...open.keys()][which % (open.size || 1)] ?? 0n;
        const texts = open.get(txn);
        if (what === "break") await take(Math.min(count, expected.length - got.length));
        else if (what === "begin") {
          open.set(batcher.nextTick(), []);
          await source.append(batcher.next([begin()]));
        } else if (what === "plain" || !texts) {
          expected.push(`${index}`, `${index}+`);
          await source.append(batcher.next([plain(`${index}`), plain(`${index}+`)]));
        } else if (what === "body") {
          texts.push(`${index}`);
          await source.append(batcher.next([body(txn, `${index}`)]));
        } else {
          open.delete(txn);
          await source.append(batcher.next([what === "commit" ? commit(txn) : rollback(txn)]));
          if (what === "commit" && texts.length > 0) expected.push(texts.join(","));
        }
      }
      await take(expected.length - got.length);
      expect(got).toEqual(expected);
    },
  );
  await fc.assert(property, { numRuns: 200, seed: 3 });
});

test("a reader ends when its signal is aborted, also between deliveries of a batch", async () => {
  const { source, batcher } = await start();
  await source.append(batcher.next([plain("a"), plain("b"), plain("c")]));
  const controller = new AbortController();
  const texts: string[] = [];
  for await (const delivery of read(source, { from: "earliest", signal: controller.signal })) {
    texts.push(textsOfDelivery(delivery));
    if (texts.length === 2) controller.abort();
  }
  expect(texts).toEqual(["a", "b"]);
});
