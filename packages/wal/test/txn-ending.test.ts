import { MillraceError } from "@millrace/types";
import { expect, test } from "vitest";
import { createMemoryBackend, openWal } from "../src/mod.ts";
import { countingTicks, createGatedBackend, settle, text } from "./helpers.ts";

test("a transaction is not said to be over before its rollback is durable", async () => {
  const backend = createGatedBackend();
  const ticks = countingTicks();
  const wal = await openWal({ backend, pchannel: "p", term: 1, ticks, vchannels: "any" });
  const beginning = wal.begin({ vchannel: "v" });
  await settle();
  backend.release();
  const { txn } = await beginning;

  const outcomes = Promise.allSettled([wal.rollback(txn), wal.commit(txn), wal.rollback(txn)]);
  let settled = false;
  outcomes.then(() => {
    settled = true;
  });
  await settle();
  expect(settled).toBe(false);
  // Another owner has come, and finds the transaction open.
  backend.release(new MillraceError("CHANNEL_FENCED", "another term owns the log"));
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "CHANNEL_FENCED" } });
  }
});

test("who asks for a transaction that is being rolled back is answered when it is", async () => {
  const backend = createGatedBackend();
  const ticks = countingTicks();
  const wal = await openWal({ backend, pchannel: "p", term: 1, ticks, vchannels: "any" });
  backend.openGate();
  const { txn } = await wal.begin({ vchannel: "v" });
  const [first, commit, second] = await Promise.allSettled([
    wal.rollback(txn),
    wal.commit(txn),
    wal.rollback(txn),
  ]);
  expect(first.status).toBe("fulfilled");
  expect(commit).toMatchObject({ reason: { code: "TRANSACTION_EXPIRED" } });
  expect(second.status).toBe("fulfilled");
  await wal.close();
});

test("a transaction stays open if what was to end it fails before it is written", async () => {
  const ticks = countingTicks();
  let fails = false;
  const failing: typeof ticks = {
    take(count, after) {
      if (fails) throw new MillraceError("UNAVAILABLE", "no ticks");
      return ticks.take(count, after);
    },
  };
  const backend = createMemoryBackend();
  const options = { backend, pchannel: "p", term: 1, ticks: failing, vchannels: "any" } as const;
  const wal = await openWal(options);
  const { txn } = await wal.begin({ vchannel: "v" });
  fails = true;
  const manualFlush = { ...text("flush"), type: 9 };
  await expect(wal.append([manualFlush])).rejects.toMatchObject({ code: "UNAVAILABLE" });
  fails = false;
  await wal.append([text("m")], { txn });
  await wal.commit(txn);
  await wal.close();
});
