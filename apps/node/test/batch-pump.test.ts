import { delay } from "@millrace/types";
import { createVirtualClock } from "@millrace/types/testing";
import { decodeBatches, encodeBatch, type RecordBatch, type WalMessage } from "@millrace/wal";
import { expect, onTestFinished, test } from "vitest";
import { type Piece, pumpBatches } from "../src/batch-pump.ts";

const none = new Uint8Array(0);

/** A pump over batches that a test hands in. */
function start(vchannel = "") {
  const clock = createVirtualClock();
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const { signal } = controller;
  const batches: RecordBatch[] = [];
  let written = 0;
  let held = false;
  let syncedTick = 0n;
  async function* source(): AsyncGenerator<RecordBatch> {
    for (let next = 0; !signal.aborted; ) {
      const batch = held ? undefined : batches[next];
      if (batch) {
        next++;
        yield batch;
      } else await delay(clock, 1, signal).catch(() => undefined);
    }
  }
  const lastTick = (): bigint => batches.at(-1)?.lastTick ?? 0n;
  const pump = pumpBatches(source(), {
    vchannel,
    start: { tick: 5n, next: 0 },
    end: () => ({ tick: syncedTick > lastTick() ? syncedTick : lastTick(), next: written }),
    pieceBytes: 1000,
    idleMs: 1000,
    silenceMs: 5000,
    clock,
    signal,
  });
  const write = (of: string, type = 2, bytes = 10): RecordBatch => {
    const message: WalMessage = {
      type,
      vchannel: of,
      header: none,
      payload: new Uint8Array(bytes),
    };
    const batch = encodeBatch({
      term: 1,
      sequence: written++,
      firstTick: 10n + BigInt(written),
      previousChecksum: 0,
      appends: [{ messages: [message] }],
    });
    batches.push(batch);
    return batch;
  };
  /** The next piece, and how long it took. */
  const take = async (): Promise<{ piece: Piece; ms: number }> => {
    const began = clock.monotonic();
    let piece: Piece | undefined;
    const taking = pump.next().then(({ value }) => {
      if (value) piece = value;
    });
    while (!piece) await clock.advance(10);
    await taking;
    return { piece, ms: clock.monotonic() - began };
  };
  return {
    clock,
    write,
    take,
    sync: (tick: bigint) => {
      syncedTick = tick;
    },
    /** Keeps the source from going on. */
    hold: (on: boolean) => {
      held = on;
    },
  };
}

const sequences = ({ bytes }: Piece): number[] => decodeBatches(bytes).map((b) => b.sequence);

test("what is taken says where the stream is behind it, also while more waits", async () => {
  const { clock, write, take } = start();
  for (let i = 0; i < 3; i++) write("v", 2, 600);
  const first = await take();
  // Two are read ahead.
  await clock.advance(10);
  const pieces = [first, await take(), await take()].map(({ piece }) => piece);
  for (const piece of pieces) {
    const last = sequences(piece).at(-1) ?? -1;
    expect(piece).toMatchObject({ next: last + 1, tick: 11n + BigInt(last) });
  }
  expect(pieces.map(sequences)).toEqual([[0], [1], [2]]);
});

test("a stream on which nothing comes tells its place every second while time goes on", async () => {
  const { write, take, sync } = start();
  write("v");
  expect((await take()).piece).toMatchObject({ tick: 11n, next: 1 });
  for (const tick of [20n, 30n]) {
    sync(tick);
    const { piece, ms } = await take();
    expect(piece).toEqual({ bytes: none, tick, next: 1 });
    expect(ms).toBeGreaterThanOrEqual(990);
    expect(ms).toBeLessThan(1100);
  }
  const { piece, ms } = await take();
  expect(piece).toEqual({ bytes: none, tick: 30n, next: 1 });
  expect(ms).toBeGreaterThanOrEqual(4900);
});

test("a place is not ahead of what was read", async () => {
  const { write, take, sync, hold } = start();
  write("v");
  await take();
  hold(true);
  write("v");
  sync(99n);
  expect((await take()).piece).toEqual({ bytes: none, tick: 11n, next: 1 });
  hold(false);
  const { piece } = await take();
  expect(sequences(piece)).toEqual([1]);
  expect(piece).toMatchObject({ tick: 12n, next: 2 });
});

test("batches of other vchannels, and ticks, are left out, and move the place on", async () => {
  const { write, take } = start("v");
  write("v");
  expect((await take()).piece.next).toBe(1);
  write("w");
  write("", 1);
  const { piece } = await take();
  expect(piece).toEqual({ bytes: none, tick: 13n, next: 3 });
  write("", 9);
  expect(sequences((await take()).piece)).toEqual([3]);
});
