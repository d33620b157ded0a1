import { createClient, type Transport } from "@connectrpc/connect";
import { MillraceError } from "@millrace/types";
import { AllocatorService, AssignmentService } from "@millrace/types/gen";
import { createVirtualClock } from "@millrace/types/testing";
import { expect, test } from "vitest";
import { createActiveTransport, createLocalTransport } from "../src/mod.ts";

/** What a server does with a call; `calls` counts them. */
interface FakeServer {
  answer: () => Promise<void> | void;
  calls: number;
}

const refused = (): never => {
  throw new MillraceError("UNAVAILABLE", "connection refused");
};
const standby = (leader: string) => (): never => {
  throw new MillraceError("UNAVAILABLE", "not active", { expected: leader });
};
const hang = (): Promise<void> => new Promise(() => undefined);
const ok = (): void => undefined;

function setUp(names: string[], addresses: string[] = names) {
  const clock = createVirtualClock();
  const servers = new Map<string, FakeServer & { transport: Transport }>();
  for (const name of names) {
    const server: FakeServer = { answer: ok, calls: 0 };
    const answer = async (): Promise<void> => {
      server.calls += 1;
      await server.answer();
    };
    const transport = createLocalTransport((router) => {
      router.service(AllocatorService, {
        async allocateIds() {
          await answer();
          return { first: BigInt(names.indexOf(name)) };
        },
      });
      router.service(AssignmentService, {
        async *discover(_request, { signal }) {
          await answer();
          yield {};
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
        },
      });
    });
    servers.set(name, Object.assign(server, { transport }));
  }
  const transport = createActiveTransport({
    addresses,
    clock,
    transportFor: (address) => servers.get(address)?.transport ?? refused(),
  });
  const ids = createClient(AllocatorService, transport);
  return {
    clock,
    server: (name: string) => servers.get(name) as FakeServer,
    /** The index of the server that answers. */
    call: async (signal?: AbortSignal) =>
      Number((await ids.allocateIds({ count: 1 }, signal ? { signal } : {})).first),
    watch: () => createClient(AssignmentService, transport).discover({})[Symbol.asyncIterator](),
  };
}

const [a, b, c] = ["http://a", "http://b", "http://c"] as const;

test("a server that does not lead says who does, and is not asked again", async () => {
  const { server, call } = setUp([a, b, c], [a, b]);
  server(a).answer = standby(c);
  expect(await call()).toBe(2);
  expect(await call()).toBe(2);
  expect([a, b, c].map((name) => server(name).calls)).toEqual([1, 0, 2]);
});

test("servers that are away are passed by, and each is asked once at most for one call", async () => {
  const { server, call } = setUp([a, b, c]);
  server(a).answer = refused;
  server(b).answer = standby(a);
  expect(await call()).toBe(2);
  server(c).answer = refused;
  await expect(call()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const before = [a, b, c].map((name) => server(name).calls);
  await expect(call()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const after = [a, b, c].map((name) => server(name).calls);
  expect(after.map((count, i) => count - (before[i] ?? 0)).every((count) => count <= 2)).toBe(true);
  server(b).answer = ok;
  expect(await call()).toBe(1);
});

test("one server alone is asked once", async () => {
  const { server, call } = setUp([a]);
  server(a).answer = refused;
  await expect(call()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(server(a).calls).toBe(1);
});

test("a call that may have had an effect is not made again, but the next one goes elsewhere", async () => {
  const { server, call } = setUp([a, b]);
  server(a).answer = () => {
    throw new MillraceError("UNAVAILABLE", "the connection broke", { maybeApplied: true });
  };
  await expect(call()).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: true });
  expect(server(b).calls).toBe(0);
  expect(await call()).toBe(1);
});

test("errors of the active server come as they are, and change nothing", async () => {
  const { server, call } = setUp([a, b]);
  server(a).answer = () => {
    throw new MillraceError("INVALID_ARGUMENT", "count is missing", { field: "count" });
  };
  await expect(call()).rejects.toMatchObject({ code: "INVALID_ARGUMENT", field: "count" });
  server(a).answer = ok;
  expect(await call()).toBe(0);
  expect(server(b).calls).toBe(0);
});

test("a server that does not answer in time is doubted, and left when another one answers", async () => {
  const { server, call, watch } = setUp([a, b]);
  const stream = watch();
  await stream.next();
  const next = stream.next();
  server(a).answer = hang;
  const hanging = call();
  const limit = new AbortController();
  const late = call(limit.signal);
  limit.abort(new MillraceError("DEADLINE_EXCEEDED", "no answer"));
  await expect(late).rejects.toMatchObject({ code: "CANCELLED" });
  expect(await call()).toBe(1);
  const left = { code: "UNAVAILABLE", maybeApplied: true };
  await expect(hanging).rejects.toMatchObject(left);
  await expect(next).rejects.toMatchObject(left);
});

test("a server that did not answer in time is not asked at once again because another one names it", async () => {
  const { clock, server, call } = setUp([a, b]);
  server(a).answer = hang;
  server(b).answer = standby(a);
  const limit = new AbortController();
  const late = call(limit.signal);
  limit.abort(new MillraceError("DEADLINE_EXCEEDED", "no answer"));
  await expect(late).rejects.toMatchObject({ code: "CANCELLED" });
  const refusal = { code: "UNAVAILABLE", expected: a };
  await expect(call()).rejects.toMatchObject(refusal);
  await clock.advance(900);
  await expect(call()).rejects.toMatchObject(refusal);
  expect(server(a).calls).toBe(1);
  // Or it was only slow.
  server(a).answer = ok;
  await clock.advance(200);
  expect(await call()).toBe(0);
});

test("a stream that is refused goes to the active server the next time", async () => {
  const { server, watch } = setUp([a, b]);
  server(a).answer = standby(b);
  await expect(watch().next()).rejects.toMatchObject({ code: "UNAVAILABLE", expected: b });
  const stream = watch();
  expect(await stream.next()).toMatchObject({ done: false });
  expect(server(b).calls).toBe(1);
  await stream.return?.();
});
