import { createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createMemoryBackend, type OpenWalOptions, openWal, type Wal } from "../src/mod.ts";
import { countingTicks, text } from "./helpers.ts";

async function open(options: Partial<OpenWalOptions>): Promise<Wal> {
  const backend = createMemoryBackend();
  const shared = { backend, pchannel: "p", term: 1, ticks: countingTicks(), vchannels: "any" };
  return await openWal({ ...shared, ...options } as OpenWalOptions);
}

test("the rate, the burst and what pressure does are those in force with each append", async () => {
  const clock = createVirtualClock();
  let bytesPerSecond = Number.POSITIVE_INFINITY;
  let limits = { recoverBelow: 0.85, slowAt: 0.9, rejectAt: 0.95 };
  const wal = await open({
    clock,
    throttle: {
      bytesPerSecond: () => bytesPerSecond,
      burstBytes: () => 1000,
      pressure: () => 0.5,
      pressureLimits: () => limits,
    },
  });
  const offer = (): Promise<string> =>
    wal.append([text("a".repeat(1400))]).then(
      () => "let in",
      (error) => error.code,
    );
  for (let i = 0; i < 10; i++) expect(await offer()).toBe("let in");
  bytesPerSecond = 1000;
  expect([await offer(), await offer()]).toEqual(["let in", "RESOURCE_EXHAUSTED"]);
  bytesPerSecond = Number.POSITIVE_INFINITY;
  expect([await offer(), await offer()]).toEqual(["let in", "let in"]);

  limits = { recoverBelow: 0.2, slowAt: 0.3, rejectAt: 0.4 };
  await clock.advance(200);
  expect(await offer()).toBe("RESOURCE_EXHAUSTED");
  await wal.close();
});

test("a transaction that asks for no lease has the one in force when it begins", async () => {
  const clock = createVirtualClock();
  const ticks = countingTicks();
  let txnLeaseMs = 50;
  const wal = await open({ clock, ticks, txnLeaseMs: () => txnLeaseMs });
  const leases = (): number[] => wal.snapshot().txns.map(({ leaseMs }) => leaseMs);
  await wal.begin({ vchannel: "v" });
  txnLeaseMs = 70;
  await wal.begin({ vchannel: "v" });
  await wal.begin({ vchannel: "v", leaseMs: 90 });
  expect(leases()).toEqual([50, 70, 90]);
  await wal.close();
});

test("time goes on as often as is said", async () => {
  for (const [tickMs, count] of [
    [undefined, 5],
    [50, 20],
  ] as const) {
    const clock = createVirtualClock();
    let taken = 0;
    const inner = countingTicks();
    const ticks = {
      take(count: number, after?: bigint) {
        taken++;
        return inner.take(count, after);
      },
    };
    const wal = await open({ clock, ticks, tickMs });
    taken = 0;
    await clock.advance(1000);
    expect([tickMs, taken]).toEqual([tickMs, count]);
    await wal.close();
  }
});
