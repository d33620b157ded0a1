import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createLocalTransport } from "@millrace/rpc";
import { silentLogger } from "@millrace/types";
import {
  type ConsumeRequest,
  type ConsumeResponseSchema,
  HandlerService,
} from "@millrace/types/gen";
import { createVirtualClock, type VirtualClock } from "@millrace/types/testing";
import { encodeBatch } from "@millrace/wal";
import { expect, onTestFinished, test } from "vitest";
import type { Owners } from "../src/owners.ts";
import { createTailMemory } from "../src/tail-memory.ts";
import { type ReaderOptions, type ReaderPlace, readVchannel } from "../src/tail-reader.ts";

const vchannel = "test-dml_0_1v0";
const none = new Uint8Array(0);

/** A batch of one message whose payload is its tick. */
function batchOf(sequence: number, tick: bigint): Uint8Array {
  const message = { type: 2, vchannel, header: none, payload: new Uint8Array([Number(tick)]) };
  const appends = [{ messages: [message] }];
  const input = { term: 1, sequence, firstTick: tick, previousChecksum: 0, appends };
  return encodeBatch(input).bytes;
}

/** Reads from an owner that says just this, one answer a call, and is silent then. */
function read(
  start: ReaderOptions["start"],
  answers: MessageInitShape<typeof ConsumeResponseSchema>[][],
) {
  const requests: ConsumeRequest[] = [];
  const clock = createVirtualClock();
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const transport = createLocalTransport((router) => {
    router.service(HandlerService, {
      async *consume(request, { signal }) {
        requests.push(request);
        yield* answers[requests.length - 1] ?? [];
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      },
    });
  });
  const owner = { address: "n", term: 1n };
  const owners: Owners = {
    call: () => Promise.reject(new Error("a tail makes no calls")),
    find: async () => owner,
    handlerOf: () => createClient(HandlerService, transport),
    recover: async () => undefined,
  };
  const ticks: number[] = [];
  const places: ReaderPlace[] = [];
  readVchannel({
    vchannel,
    start,
    owners,
    clock,
    logger: silentLogger,
    memory: createTailMemory(1024 * 1024),
    onReady: () => undefined,
    onProgress: (place) => places.push(place),
    onMessage: async ({ payload }) => void ticks.push(payload[0] ?? 0),
    signal: controller.signal,
  }).catch(() => undefined);
  return { clock, requests, ticks, places };
}

/** Lets everything that has come be taken. */
async function pass(clock: VirtualClock): Promise<void> {
  for (let step = 0; step < 100; step++) await clock.advance(1);
}

test("what is read again, to find what was open, is neither delivered nor told as progress", async () => {
  const start = { tick: 30n, resume: 4 };
  const { clock, ticks, places } = read(start, [
    [
      { next: 4n },
      { batches: batchOf(4, 10n), tick: 10n, next: 5n },
      { tick: 20n, next: 5n },
      { batches: batchOf(5, 30n), tick: 30n, next: 6n },
      { batches: batchOf(6, 40n), tick: 40n, next: 7n },
    ],
  ]);
  await pass(clock);
  expect(ticks).toEqual([40]);
  expect(places).toEqual([{ tick: 40n, resume: 7 }]);
});

test("a reader whose owner falls silent goes on behind all that was sent or left out", async () => {
  const { clock, requests, ticks } = read("earliest", [
    [{ next: 2n }, { batches: batchOf(2, 10n), tick: 10n, next: 3n }, { tick: 20n, next: 9n }],
    [{ next: 9n }, { batches: batchOf(9, 30n), tick: 30n, next: 10n }],
  ]);
  await pass(clock);
  await clock.advance(15_000);
  await pass(clock);
  expect(requests.map(({ from }) => from)).toEqual([
    { case: "earliest", value: true },
    { case: "sequence", value: 9n },
  ]);
  expect(ticks).toEqual([10, 30]);
});

test("a place is read on from where it says, else from its message, else from the beginning", async () => {
  const id = { sequence: 7, index: 0 };
  const cases: [ReaderPlace, ConsumeRequest["from"]][] = [
    [
      { id, tick: 30n, resume: 3 },
      { case: "sequence", value: 3n },
    ],
    [
      { id, tick: 30n },
      { case: "sequence", value: 7n },
    ],
    [{ tick: 30n }, { case: "earliest", value: true }],
  ];
  for (const [place, from] of cases) {
    const { clock, requests } = read(place, [[{ next: 0n }]]);
    await pass(clock);
    expect(requests[0]?.from).toEqual(from);
  }
});
