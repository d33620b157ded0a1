import { MillraceError } from "@millrace/types";
import { expect, test } from "vitest";
import { openWal } from "../src/mod.ts";
import { countingTicks, createGatedBackend, settle } from "./helpers.ts";

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
