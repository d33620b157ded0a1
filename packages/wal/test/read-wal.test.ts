import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tick } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFileBackend } from "../src/backends/file.node.ts";
import {
  createMemoryBackend,
  type Delivery,
  openWal,
  type ReadOptions,
  type Wal,
} from "../src/mod.ts";
import { countingTicks, text } from "./helpers.ts";
import { textsOfDelivery } from "./read-helpers.ts";

const backends = [
  ["memory", createMemoryBackend],
  [
    "file",
    () => {
      const dir = mkdtempSync(join(tmpdir(), "millrace-read-"));
      onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
      return createFileBackend({ dir, segmentBytes: 4096 });
    },
  ],
] as const;

const vchannel = "v";

/** What is there, from a place on. */
async function readAll(wal: Wal, from: ReadOptions["from"]): Promise<Delivery[]> {
  const all: Delivery[] = [];
  const { signal } = new AbortController();
  for await (const delivery of wal.read({ from, follow: false, signal })) all.push(delivery);
  return all;
}

describe.each(backends)("reading at the owner of a log of the %s backend", (_name, create) => {
  test.each([1, 2, 3, 4, 5])(
    "what was delivered once is not delivered again, and all that is committed is, over owners (seed %i)",
    async (seed) => {
      const random = createSeededRandom(seed);
      const backend = create();
      const ticks = countingTicks();
      let term = 0;
      const open = (): Promise<Wal> =>
        openWal({ backend, pchannel: "p", term: ++term, ticks, vchannels: "any" });
      let wal = await open();
      const txns = new Map<Tick, string[]>();
      const expected: string[] = [];
      const got: string[] = [];
      let place: Pick<Delivery, "tick" | "resume"> | undefined;
      const pick = (): Tick => [...txns.keys()][Math.floor(random.next() * txns.size)] ?? 0n;
      const act = async (dice: number, name: string): Promise<void> => {
        if (dice < 0.2) {
          await wal.append([text(name), text(`${name}+`)]);
          expected.push(`${name},${name}+`);
        } else if (dice < 0.35) {
          txns.set((await wal.begin({ vchannel })).txn, []);
        } else if (dice < 0.6 && txns.size > 0) {
          const txn = pick();
          await wal.append([text(name)], { txn });
          txns.get(txn)?.push(name);
        } else if (dice < 0.75 && txns.size > 0) {
          const txn = pick();
          const texts = txns.get(txn) ?? [];
          txns.delete(txn);
          if (random.next() < 0.3) return wal.rollback(txn);
          const { lastConfirmed } = await wal.commit(txn);
          expect(lastConfirmed).toBeLessThanOrEqual(wal.lastConfirmed());
          if (texts.length > 0) expected.push(texts.join(","));
        } else if (dice < 0.9) {
          const all = await readAll(wal, place ? { after: place } : "earliest");
          for (const delivery of all.slice(0, Math.ceil(random.next() * all.length))) {
            got.push(textsOfDelivery(delivery));
            place = delivery;
          }
        } else {
          await wal.close();
          wal = await open();
        }
      };
      for (let step = 0; step < 150; step++) await act(random.next(), `${step}`);
      const rest = await readAll(wal, place ? { after: place } : "earliest");
      expect([...got, ...rest.map(textsOfDelivery)]).toEqual(expected);
      await wal.close();
    },
  );

  test("reading that does not follow ends with what was there when it began", async () => {
    const wal = await openWal({
      backend: create(),
      pchannel: "p",
      term: 1,
      ticks: countingTicks(),
      vchannels: "any",
      // Read from the log.
      tailBytes: 0,
    });
    const { signal } = new AbortController();
    const options = { from: "earliest", follow: false, signal } as const;
    const sequences: number[] = [];
    for await (const _ of wal.scan(options)) expect.fail("there is nothing yet");
    await wal.append([text("a")]);
    await wal.append([text("b")]);
    for await (const { sequence } of wal.scan(options)) {
      sequences.push(sequence);
      if (sequences.length > 2) break;
      await wal.append([text("more")]);
    }
    expect(sequences).toEqual([0, 1]);
    await wal.close();
  });

  test("from the latest place what is committed later arrives whole, and nothing else", async () => {
    const wal = await openWal({
      backend: create(),
      pchannel: "p",
      term: 1,
      ticks: countingTicks(),
      vchannels: "any",
    });
    const { txn } = await wal.begin({ vchannel });
    const { txn: other } = await wal.begin({ vchannel });
    await wal.append([text("a")], { txn });
    await wal.append([text("before")]);
    const controller = new AbortController();
    const deliveries = wal.read({ from: "latest", signal: controller.signal });
    await wal.append([text("b")], { txn });
    await wal.append([text("after")]);
    await wal.commit(txn);
    await wal.rollback(other);
    await wal.append([text("last")]);
    const texts: string[] = [];
    for await (const delivery of deliveries) {
      texts.push(textsOfDelivery(delivery));
      if (texts.at(-1) === "last") break;
    }
    expect(texts).toEqual(["after", "a,b", "last"]);
    controller.abort();
    await wal.close();
  });
});
