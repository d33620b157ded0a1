import { MillraceError, silentLogger } from "@millrace/types";
import { expect, test } from "vitest";
import type { OpenPchannel } from "../src/pchannel.ts";
import { createPchannels } from "../src/pchannels.ts";

/** Pchannels whose openings a test ends by hand, and what happened to them in order. */
function setUp() {
  const events: string[] = [];
  const openings = new Map<number, { resolve(): void; reject(error: unknown): void }>();
  const failures = new Map<number, AbortController>();
  const pchannels = createPchannels({
    open: (name, term, signal) =>
      new Promise<OpenPchannel>((resolve, reject) => {
        events.push(`opening ${term}`);
        const failure = new AbortController();
        failures.set(term, failure);
        signal.addEventListener("abort", () => reject(signal.reason));
        openings.set(term, {
          reject,
          resolve: () =>
            resolve({
              name,
              term,
              signal: failure.signal,
              async close() {
                events.push(`closed ${term}`);
              },
            } as OpenPchannel),
        });
      }),
    onFailure: (_name, term, error) => events.push(`failed ${term} ${error.code}`),
    logger: silentLogger,
  });
  const turn = async (): Promise<void> => {
    for (let step = 0; step < 20; step++) await undefined;
  };
  const open = async (term: number): Promise<void> => {
    const assigned = pchannels.assign("p", term);
    await turn();
    openings.get(term)?.resolve();
    await assigned;
  };
  return { events, failures, open, openings, pchannels, turn };
}

test("a higher term ends an opening that is under way, and is opened after it", async () => {
  const { events, openings, pchannels, turn } = setUp();
  const first = expect(pchannels.assign("p", 1)).rejects.toMatchObject({
    code: "IGNORED_OPERATION",
  });
  await turn();
  const second = pchannels.assign("p", 2);
  await turn();
  openings.get(2)?.resolve();
  await Promise.all([first, second]);
  expect(events).toEqual(["opening 1", "opening 2"]);
  expect(pchannels.find("p", 2).term).toBe(2);
});

test("a higher term closes the lower one before it opens", async () => {
  const { events, open } = setUp();
  await open(1);
  await open(2);
  expect(events).toEqual(["opening 1", "closed 1", "opening 2"]);
});

test("removing while it opens ends the opening", async () => {
  const { pchannels, turn } = setUp();
  const opening = expect(pchannels.assign("p", 1)).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
  await turn();
  await pchannels.remove("p", 1);
  await opening;
  expect(pchannels.list()).toEqual([]);
});

test("two assigns of one term open it once", async () => {
  const { events, openings, pchannels, turn } = setUp();
  const both = [pchannels.assign("p", 1), pchannels.assign("p", 1)];
  await turn();
  openings.get(1)?.resolve();
  await Promise.all(both);
  expect(events).toEqual(["opening 1"]);
});

test("an opening that failed leaves nothing behind and may be tried at a higher term", async () => {
  const { open, openings, pchannels, turn } = setUp();
  const first = expect(pchannels.assign("p", 1)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await turn();
  openings.get(1)?.reject(new MillraceError("UNAVAILABLE", "away"));
  await first;
  expect(() => pchannels.find("p", 1)).toThrow("does not hold");
  await open(2);
});

test("a pchannel that fails is closed, told of, and not found any more", async () => {
  const { events, failures, open, pchannels, turn } = setUp();
  await open(1);
  failures.get(1)?.abort(new MillraceError("CHANNEL_FENCED", "fenced"));
  await turn();
  expect(events).toEqual(["opening 1", "closed 1", "failed 1 CHANNEL_FENCED"]);
  expect(pchannels.list()).toEqual([]);
});

test("a node that closes takes nothing on", async () => {
  const { open, pchannels } = setUp();
  await open(1);
  await pchannels.close();
  expect(pchannels.list()).toEqual([]);
  await expect(pchannels.assign("p", 2)).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
});
