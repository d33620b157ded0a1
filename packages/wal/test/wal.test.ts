import { MillraceError } from "@millrace/types";
import { expect, test } from "vitest";
import { createMemoryBackend, openWal } from "../src/mod.ts";
import { countingTicks, readTexts, text } from "./helpers.ts";

const pchannel = "p";
const ticks = countingTicks();
const signal = new AbortController().signal;

function open(backend = createMemoryBackend(), term = 1) {
  return openWal({ backend, pchannel, term, ticks, vchannels: "any" });
}

test("appended messages are read in order, from the log and from the tail", async () => {
  const wal = await open();
  const scan = wal.scan({ from: "earliest", signal });
  const results = await Promise.all(["a", "b", "c"].map((payload) => wal.append([text(payload)])));
  expect(results.map(({ id }) => id)).toEqual([
    { sequence: 0, index: 0 },
    { sequence: 0, index: 1 },
    { sequence: 0, index: 2 },
  ]);
  const later = wal.append([text("d"), text("e")]);
  expect(await readTexts(scan, 5)).toEqual(["a", "b", "c", "d", "e"]);
  expect((await later).id).toEqual({ sequence: 1, index: 0 });
  await wal.close();
});

test("a second owner fences the first and sees all that it acknowledged", async () => {
  const backend = createMemoryBackend();
  const old = await open(backend, 1);
  await old.append([text("a")]);
  const current = await open(backend, 2);
  await expect(old.append([text("lost")])).rejects.toMatchObject({ code: "CHANNEL_FENCED" });
  expect(MillraceError.is(old.signal.reason, "CHANNEL_FENCED")).toBe(true);
  await current.append([text("b")]);
  expect(await readTexts(current.scan({ from: "earliest", signal }), 2)).toEqual(["a", "b"]);
  await expect(open(backend, 2)).rejects.toMatchObject({ code: "CHANNEL_FENCED", expected: "2" });
});
