import { createClient } from "@connectrpc/connect";
import { createLocalTransport } from "@millrace/rpc";
import { MillraceError } from "@millrace/types";
import { CatalogService } from "@millrace/types/gen";
import { createSeededRandom, createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { waitForCoordinator } from "../src/retry.ts";

function setUp() {
  const clock = createVirtualClock();
  const coord = { calls: 0, answer: (): void => undefined };
  const transport = createLocalTransport((router) => {
    router.service(CatalogService, {
      catalogDropCollection() {
        coord.calls += 1;
        coord.answer();
        return {};
      },
    });
  });
  const options = { clock, random: createSeededRandom(1), timeoutMs: 10_000 };
  const catalog = createClient(CatalogService, waitForCoordinator(transport, options));
  const drop = () => catalog.catalogDropCollection({ name: "a" });
  return { clock, coord, drop };
}

const noLead = (): never => {
  throw new MillraceError("UNAVAILABLE", "no coordinator leads");
};

test("a change waits until a coordinator leads", async () => {
  const { clock, coord, drop } = setUp();
  coord.answer = noLead;
  const call = drop();
  await clock.advance(7000);
  coord.answer = () => undefined;
  await clock.advance(1000);
  await call;
});

test("a change is told after a while that none does", async () => {
  const { clock, coord, drop } = setUp();
  coord.answer = noLead;
  const refused = expect(drop()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
  await clock.advance(11_000);
  await refused;
  expect(clock.pending).toBe(0);
});

test("a change that may have been made is not made again", async () => {
  const { coord, drop } = setUp();
  coord.answer = () => {
    throw new MillraceError("UNAVAILABLE", "the connection broke", { maybeApplied: true });
  };
  await expect(drop()).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: true });
  expect(coord.calls).toBe(1);
});
